"""Command lines that cannot be understood, or mean more than they seem to: what is wrong, and what to write instead."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from invoke.exceptions import ParseError
from invoke.parser.argument import Argument
from invoke.parser.context import ParserContext, to_flag
from invoke.program import Program

from plainstack.wording import did_you_mean, quoted, shortened

# Options that take several names, separated by commas.
_LISTS = {"--host", "--role"}
# Options of Invoke and Fabric that have no effect on Plainstack's commands, and would mislead.
_WITHOUT_EFFECT = {
    "dry": "--dry has no effect on {line}, which would make its changes; inv plan shows what inv deploy would change",
    "version": "--version stands alone: {name} --version",
    "hosts": "-H selects no hosts for {line}; {line} --help shows how to",
}


def explain_errors(program: Program, name: str) -> None:
    """Let the parser of a program, called `name`, explain errors of the command line; the exit code stays 1.

    Also refuse options with an empty value, such as `--host=$HOST` in a script with an unset variable: without a value,
    most options mean everything. Call it while the tasks are being loaded; only then are those of a stack's own known.
    """

    def explaining(parse: Callable[[], None]) -> Callable[[], None]:
        def parsed() -> None:
            try:
                parse()
                _refuse_misleading(program, name)
            except ParseError as error:
                raise ParseError(_explained(error, program, name), error.context) from None
            except ValueError as error:
                raise ParseError(_no_number(_typed(program), program, name, error)) from None

        return parsed

    for stage in ("parse_tasks", "parse_cleanup"):
        if parse := getattr(program, stage, None):
            setattr(program, stage, explaining(parse))


def _refuse_misleading(program: Program, name: str) -> None:
    """Raise ParseError for what Invoke accepts and a command of Plainstack would ignore."""
    given = getattr(program, "tasks", [])
    ours = [one for one in given if program.collection[one.name].body.__module__.startswith("plainstack.")]
    for context in ours:
        line = f"{name} {context.name}"
        for argument in context.args.values():
            several = argument.value if isinstance(argument.value, list) else []
            if (argument.raw_value == "" or "" in several) and not argument.positional:
                flag = to_flag(argument.name)
                raise ParseError(f"{line}: {flag}= has no value; leave it out for its default", context)
        for option, why in _WITHOUT_EFFECT.items():
            if option in program.args and program.args[option].value:
                raise ParseError(why.format(line=line, name=name), context)
    # Without a task, Fabric runs the words after -- on the hosts of -H. Words to complete come after -- too.
    ignored = ours or (not given and name == "inv")
    if ignored and (words := program.core.remainder) and not program.args.complete.value:
        line = " ".join([name, *(str(one.name) for one in given[-1:])])
        raise ParseError(f"{line} takes no words after --: {quoted(words)}; leave the -- out")


def _explained(error: ParseError, program: Program, name: str) -> str:
    context, text = error.context, str(error)
    line = f"{name} {context.name}" if context and context.name else name
    if found := re.fullmatch(r"No idea what (['\"].*['\"]) is!", text, re.DOTALL):
        return _unknown(_unquoted(found[1]), line, program, context, name)
    if found := re.fullmatch(r"Flag <Argument: (\S+).*> needed value and was not given one!", text):
        return f"{line}: {to_flag(found[1])} needs a value; {line} --help describes it"
    if context and "did not receive required positional arguments" in text:
        words = " ".join(str(one.name).upper() for one in context.missing_positional_args)
        return f"{line} needs {words}: {line} {words}; {line} --help describes it"
    return text


def _unquoted(text: str) -> str:
    """Return the word that Invoke quotes, with repr() or with bare apostrophes."""
    try:
        return str(ast.literal_eval(text))
    except (SyntaxError, ValueError):
        return text[1:-1]


def _unknown(word: str, line: str, program: Program, context: ParserContext | None, name: str) -> str:
    """Return what is wrong with a word that is neither an option here nor a command."""
    task = context.name if context else None
    if not word.strip():
        return f"{line}: there is an empty word, such as an unset variable; leave it out"
    if word.startswith("-"):
        if later := "" if task else _where_it_belongs(word, program, name):
            return later
        known = sorted(context.flag_names()) if context else []
        hint = (len(word) > 2 and did_you_mean(word, known)) or f"; {line} --help shows them all"
        return f"there is no option {quoted(word)}{f' of {line}' if task else ''}{hint}"
    if context and (flag := _flag_before(word, _typed(program), context)):
        argument = context.flags[flag]
        if not argument.takes_value:
            return f"{line}: {flag} takes no value"
        several = f"; for several names: {flag}={argument.raw_value},{word}" if to_flag(argument.name) in _LISTS else ""
        return f"{line}: {flag} is given twice{several}"
    hint = did_you_mean(word, sorted(program.collection.task_names))
    if word == "help":
        hint = f"; {name} --list shows all commands, and {name} COMMAND --help describes one"
    elif word in program.collection.collections:
        hint = f"; {name} --list {word} shows the commands that begin with it"
    if task and not hint:
        return f"{line} does not take the word {quoted(word)}, and there is no such command; see {line} --help"
    return f"there is no command {quoted(word)}{hint or f'; {name} --list shows them all'}"


def _flag_before(word: str, words: list[str], context: ParserContext) -> str:
    """Return the option that a word was meant as a value of, as in `--json=word` or `--role db --role word`."""
    for before, here in pairwise(["", *words]):
        flag, equals, value = here.partition("=")
        if equals and value == word and flag in context.flags:
            return flag
        if here == word and before in context.flags and context.flags[before].takes_value:
            return before
    return ""


def _where_it_belongs(flag: str, program: Program, name: str) -> str:
    """Return how to write an option that stands before its command; empty if no later command has it."""
    contexts = {context.name: context for context in program.collection.to_contexts()}
    for word in _typed(program):
        if word in contexts and flag in contexts[word].flags:
            return f"the option {flag!r} belongs after the command: {name} {word} {flag}"
    return ""


def _no_number(words: list[str], program: Program, name: str, error: ValueError) -> str:
    """Return which option of a number has another value."""
    for task, flag, argument, value in _options(words, program):
        try:
            argument.kind(value)
        except ValueError:
            return f"{name} {task}: {flag}={_shown(value)} is not a number"
    return f"{name}: {error}"


def _shown(value: str) -> str:
    return shortened(value) if value.isprintable() else quoted(value)


def _options(words: list[str], program: Program) -> Iterator[tuple[str, str, Argument, str]]:
    """Yield the options with values in a command line, each with its command."""
    contexts = {str(context.name): context for context in program.collection.to_contexts()}
    task = ""
    for here, after in pairwise([*words, ""]):
        flag, equals, value = here.partition("=")
        if here in contexts:
            task = here
        elif task and flag in contexts[task].flags and contexts[task].flags[flag].takes_value:
            yield task, flag, contexts[task].flags[flag], value if equals else after


def _typed(program: Program) -> list[str]:
    """Return the words of the command line, without the program's own options."""
    words: list[str] = program.core.unparsed
    return words
