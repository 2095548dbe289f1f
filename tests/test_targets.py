"""Where a command line may point, and how its connections are encrypted."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from replicator.targets import Encryption, Target, parse
from tests.support.tls import make_papers


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("localhost:7000", Target("localhost", 7000)),
        (":7000", Target("127.0.0.1", 7000)),
        ("[::1]:7000", Target("::1", 7000)),
        ("redis://there", Target("there", 6379)),
        ("rediss://there:7000", Target("there", 7000, True)),
        ("valkeys://[::1]:7000/0", Target("::1", 7000, True)),
        ("rediss://me:p%40ss@there:7000", Target("there", 7000, True, "me", "p@ss")),
        ("redis://:secret@there", Target("there", 6379, False, "", "secret")),
    ],
)
def test_an_address_is_understood(text: str, target: Target) -> None:
    assert parse(text) == target


@pytest.mark.parametrize("text", ["there", "there:port", "there:0", "::1:7000", "http://there", "rediss://there:99999"])
def test_what_is_no_address_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        parse(text)


def test_a_context_checks_who_signed_and_a_name_only_if_one_is_given(tmp_path: Path) -> None:
    papers = make_papers(tmp_path)
    plain = Encryption(cacert=papers.ca).context()
    assert (plain.verify_mode, plain.check_hostname) == (ssl.CERT_REQUIRED, False)
    named = Encryption(cacert=papers.ca, sni="there").context()
    assert (named.verify_mode, named.check_hostname) == (ssl.CERT_REQUIRED, True)
    anybody = Encryption(insecure=True, sni="there").context()
    assert (anybody.verify_mode, anybody.check_hostname) == (ssl.CERT_NONE, False)
    for wrong in (Encryption(cacert="missing"), Encryption(cert="a"), Encryption(cert="missing", key="missing")):
        with pytest.raises(ValueError, match="--c"):
            wrong.context()
