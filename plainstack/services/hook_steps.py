"""The steps that run a service's hooks: once for each release, before a host switches to it or after it has started."""

from __future__ import annotations

from collections.abc import Iterator

from plainstack.engine.resources import Command
from plainstack.services import hooks
from plainstack.services.hooks import Phase
from plainstack.services.places import account, home, settings
from plainstack.services.release import Release
from plainstack.services.release_shell import IN_RELEASE, script, word
from plainstack.services.variables import Scope

# The marker is written after the command has succeeded: a command that is killed runs again.
_HOOK = """\
code=0
line=$(printf '%s\\n' "$line" | its_own "$home/releases/$id")
in_release "$home/releases/$id" timeout -k 10 "$seconds" sh -c "$line" || code=$?
if [ $code != 0 ]; then
    how="failed with exit code $code"
    [ $code != 124 ] || how="did not finish within $seconds s"
    if [ "$fatal" = yes ]; then
        printf '%s\\n' "$what $how. $next"
        exit 1
    fi
    printf '%s\\n' "$what $how. $next" >>"$WARNINGS"
    tail -n 10 "$SAID" | sed 's/^/    /' >>"$WARNINGS"
fi
mkdir -p "$home/releases/$id/hooks"
: >"$home/releases/$id/hooks/$marker"
"""

_NEXT = {
    ("before", True): "{service} was not switched on this host. Correct the command or the release, and deploy again",
    ("after", True): (
        "Release {release} had started; this host returns to the previous release. Hosts that were deployed before it"
        " keep {release}. Correct the command or the release and deploy again, or set"
        " services.{service}.after.{hook}.fatal to false"
    ),
    ("before", False): "It is not fatal, so the deploy continued. It runs again with the next release",
    ("after", False): "It is not fatal, so the deploy continued. It runs again with the next release",
}


def commands(scope: Scope, here: Release, phase: Phase) -> Iterator[Command]:
    """Yield the step of each hook that the host of `scope` runs; a rollback runs neither hooks nor migrations."""
    if here.pinned:
        return
    service = scope.service
    when = f"before release {here.id} starts" if phase == "before" else f"now that release {here.id} has started"
    for hook in hooks.here(scope, phase):
        name = f"services.{service}.{phase}.{hook.name}"
        folder = f"{home(service)}/releases/{here.id}"
        marker = f"{phase}.{hook.name}"
        yield Command(
            name=f"{service}: {phase} {hook.name}",
            why=f"{hook.said}, {'once for all hosts, ' if hook.once else ''}{when}",
            run=script(
                IN_RELEASE + _HOOK,
                settings=settings(service),
                home=home(service),
                id=here.id,
                venv=f"{home(service)}/venvs/{here.venv}" if here.venv else "",
                account=account(service),
                line=hook.line,
                seconds=str(hook.timeout),
                fatal="yes" if hook.fatal else "no",
                what=f"The command of {name}, {hook.said},",
                next=_NEXT[phase, hook.fatal].format(service=service, release=here.id, hook=hook.name),
                marker=marker,
            ),
            unless=f"[ -e {word(folder)}/hooks/{marker} ]",
            timeout=hook.timeout + 60,
            follow=True,
        )
