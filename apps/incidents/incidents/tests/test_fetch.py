"""Whatever a machine answers is recorded as what it is, and addresses of the stack itself are not asked."""

import ipaddress
import socket
import threading
import time
from typing import Any
from unittest import mock

from django.test import SimpleTestCase, override_settings

from incidents import addresses, answers
from incidents.fake import Fleet
from incidents.fetch import fetch, fetch_all

LOOPBACK = [ipaddress.ip_network("127.0.0.0/8")]


class Answers(SimpleTestCase):
    def test_numbers_with_and_without_per_cent_are_read(self) -> None:
        said = answers.parse(b'{"cpu": 60, "mem": "30%", "disk": " 43.5 % ", "uptime": "1d 2h 37m 6s", "fans": [1]}')
        self.assertEqual(said.values, {"cpu": 60, "memory": 30, "disk": 43.5})
        self.assertEqual((said.uptime, said.problems), (95826, ()))

    def test_what_is_missing_or_not_a_number_is_named_and_the_rest_is_used(self) -> None:
        said = answers.parse(b'{"cpu": "sixty", "disk": 5}')
        self.assertEqual(said.values, {"disk": 5})
        self.assertEqual(said.problems, ('cpu is "sixty", not a number', "mem is missing"))

    def test_only_finite_numbers_from_zero_are_numbers(self) -> None:
        for good, value in (("33.333333333333336%", 33.333333333333336), ("5e-05", 0.00005), (".5 %", 0.5)):
            self.assertEqual(answers.number(good), value)
        for bad in (None, True, [], {}, "", "%", "-1", -1, "1e3", "1,5", "٣", float("nan"), float("inf"), 10**400):
            self.assertIsNone(answers.number(bad), bad)

    def test_an_uptime_has_any_of_its_parts(self) -> None:
        expected = {"6s": 6, "1d": 86400, "2h6s": 7206, "": None, "soon": None, "6s 1d": None, 90: 90, "90": 90}
        for text, seconds in expected.items():
            self.assertEqual(answers.uptime(text), seconds, text)

    def test_what_is_not_an_object_is_refused(self) -> None:
        for body in (b"", b"{", b"[1]", b"7", b"\xff", b"[" * 100_000):
            with self.assertRaises(answers.NotAnObject):
                answers.parse(body)


class Refusals(SimpleTestCase):
    def refused(self, address: str, allow: tuple[str, ...] = (), deny: tuple[str, ...] = ()) -> bool:
        networks = [[ipaddress.ip_network(each) for each in group] for group in (allow, deny)]
        return bool(addresses.refusal(ipaddress.ip_address(address), *networks))

    def test_only_public_addresses_may_be_polled(self) -> None:
        for address in ("8.8.8.8", "2606:4700::1111"):
            self.assertFalse(self.refused(address), address)
        inside = ("127.0.0.1", "0.0.0.0", "10.0.0.1", "192.168.57.11", "169.254.169.254", "100.64.0.1", "224.0.0.1")
        disguised = (
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "2002:7f00:1::",
            "64:ff9b::7f00:1",
            "ff02::1",
            "fec0::1",
            "64:ff9b:1::7f00:1",
            "::127.0.0.1",
            "3fff::1",
        )
        for address in (*inside, *disguised):
            self.assertTrue(self.refused(address), address)

    def test_networks_can_be_allowed_and_denied(self) -> None:
        self.assertFalse(self.refused("10.1.2.3", allow=("10.0.0.0/8",)))
        self.assertFalse(self.refused("::ffff:10.1.2.3", allow=("10.0.0.0/8",)))
        self.assertTrue(self.refused("10.1.2.3", allow=("10.0.0.0/8",), deny=("10.1.0.0/16",)))
        self.assertTrue(self.refused("8.8.8.8", deny=("8.8.8.0/24",)))

    def test_a_url_that_cannot_be_polled_is_refused_with_a_reason(self) -> None:
        bad = (
            "ftp://x/",
            "http://",
            "http://u:p@x/",
            "http://x:0/",
            "http://x:99999/",
            "http://x/ y",
            "http://x/#f",
            "x",
            "",
        )
        for url in bad:
            with self.assertRaises(ValueError, msg=url):
                addresses.parts(url)
        self.assertEqual(addresses.parts("https://[::1]:8443/s?x=1"), addresses.Parts(True, "::1", 8443, "/s?x=1"))


@override_settings(POLL_ALLOW=LOOPBACK, POLL_DENY=[], POLL_TIMEOUT=10, POLL_CONCURRENCY=50, POLL_MAX_BODY=65536)
class Fetching(SimpleTestCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.fleet = Fleet(("127.0.0.1", 0), 1000)
        threading.Thread(target=cls.fleet.serve_forever, args=(0.05,), daemon=True).start()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.fleet.shutdown()
        cls.fleet.server_close()
        super().tearDownClass()

    def outcomes(self, *names: str) -> dict[str, str]:
        results = fetch_all(f"{self.fleet.url}/{name}" for name in names)
        return {name: str(result.outcome) for name, result in zip(names, results, strict=True)}

    def test_every_misbehaviour_is_recorded_as_what_it_is(self) -> None:
        expected = {
            **{"well": "ok", "busy": "ok", "full": "ok", "missing": "partial", "words": "partial"},
            **{"bad_json": "bad_json", "html": "bad_json", "redirect": "redirect", "error": "status"},
            **{"huge": "too_large", "cut_off": "broken", "garbage": "broken", "reset": "broken", "nowhere": "status"},
        }
        self.assertEqual(self.outcomes(*expected), expected)

    @override_settings(POLL_TIMEOUT=0.5)
    def test_a_machine_that_is_silent_or_trickles_has_one_time_out_for_everything(self) -> None:
        begun = time.monotonic()
        self.assertEqual(self.outcomes("trickle", "silent"), {"trickle": "timeout", "silent": "timeout"})
        self.assertLess(time.monotonic() - begun, 30)  # both go on for a minute

    def test_a_redirect_names_its_target_and_is_not_followed(self) -> None:
        self.assertEqual(fetch(f"{self.fleet.url}/redirect").detail, "302 to http://127.0.0.1:22/")

    def test_no_connection_and_no_name(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))  # without listen(), so connections are refused
            self.assertEqual(fetch(f"http://127.0.0.1:{unused.getsockname()[1]}/").outcome, "refused")
        with mock.patch("socket.getaddrinfo", side_effect=socket.gaierror(-2, "Name or service not known")):
            self.assertEqual(fetch("http://nowhere.example/").outcome, "unresolved")
        self.assertEqual(fetch(self.fleet.url.replace("http:", "https:") + "/well").outcome, "tls")

    @override_settings(POLL_TIMEOUT=0.2)
    def test_a_name_server_that_does_not_answer_has_the_same_time_out(self) -> None:
        tested = threading.Event()
        with mock.patch("socket.getaddrinfo", side_effect=lambda *_, **__: tested.wait(60)):
            result = fetch("http://slow.example/")
            tested.set()
        self.assertEqual(result.outcome, "timeout")
        self.assertLess(result.milliseconds, 30_000)

    def test_an_error_of_our_own_is_an_outcome_too(self) -> None:
        with mock.patch("incidents.answers.parse", side_effect=ZeroDivisionError), self.assertLogs("incidents.fetch"):
            self.assertEqual(fetch(f"{self.fleet.url}/well").outcome, "error")

    @override_settings(POLL_ALLOW=[])
    def test_loopback_is_not_asked_unless_it_is_allowed(self) -> None:
        with mock.patch("socket.create_connection") as connected:
            for host in ("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1"):
                result = fetch(f"http://{host}:{self.fleet.server_port}/well")
                self.assertEqual(result.outcome, "forbidden", host)
        connected.assert_not_called()

    def test_the_address_that_was_checked_is_the_one_that_is_asked(self) -> None:
        """A name that has another address at every look (DNS rebinding) is resolved once."""
        port = self.fleet.server_port
        looks = [[(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]]

        def resolve(host: str, *rest: Any, **options: Any) -> Any:
            return looks.pop() if host == "rebinds.example" else real(host, *rest, **options)

        real = socket.getaddrinfo
        with mock.patch("socket.getaddrinfo", resolve):
            self.assertEqual(fetch(f"http://rebinds.example:{port}/well").outcome, "ok")
        self.assertEqual(looks, [])
