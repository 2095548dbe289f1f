"""Contexts are made from the directives, and refused, as a stock server does it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from replicator.core.config.config import Config
from replicator.runtime.tls import openssl
from replicator.runtime.tls.context import Tls, TlsError, TlsSettings
from replicator.scenario.stages.certificates import Key
from replicator.server import tls_settings
from tests.support.stock import binary, free_port
from tests.support.tls import Papers

# The key of 1, encrypted under "secret" (openssl pkcs8 -topk8 -v2 aes256): Python cannot encrypt one itself.
ENCRYPTED_KEY = """\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhosVD6xnzklgICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEGT36oESCKRyry58a1MnPq8EgZB/
HvEpRhvYeCW0rxpCHUw1or0MmJVa5Nim5fnI/bOqGMusq75YYdu4dJ1Pugg+prri
1vjogGS1eQkIc4g1muC7fB2U2w+uXprvM1RZdEqK2D5ouQLeNDtLVrpFscHxvYd1
1jeTgUG4EDXA0HA6ALidd+lJM+6kSRO16JFcxSvfVrOzOguBx5tq+4H2GoTdBt0=
-----END ENCRYPTED PRIVATE KEY-----
"""

GOOD = "tls-cert-file server.crt tls-key-file server.key tls-ca-cert-file ca.crt"
CASES = [
    "",
    GOOD,
    "tls-cert-file server.crt tls-key-file server.key",
    "tls-cert-file server.crt tls-key-file server.key tls-auth-clients no",
    "tls-cert-file server.crt tls-key-file server.key tls-auth-clients optional",
    "tls-cert-file server.crt tls-key-file server.key tls-auth-clients no tls-replication yes",
    "tls-cert-file server.crt tls-key-file server.key tls-auth-clients no tls-cluster yes",
    "tls-cert-file server.crt tls-ca-cert-file ca.crt",
    "tls-key-file server.key tls-ca-cert-file ca.crt",
    f"{GOOD} tls-cert-file missing.crt",
    f"{GOOD} tls-cert-file no.pem",
    f"{GOOD} tls-key-file missing.key",
    f"{GOOD} tls-key-file no.pem",
    f"{GOOD} tls-key-file client.key",
    f"{GOOD} tls-ca-cert-file missing.crt",
    f"{GOOD} tls-ca-cert-file no.pem",
    f"{GOOD} tls-ca-cert-dir missing",
    f"{GOOD} tls-cert-file secret.crt tls-key-file secret.key",
    f"{GOOD} tls-cert-file secret.crt tls-key-file secret.key tls-key-file-pass wrong",
    f"{GOOD} tls-cert-file secret.crt tls-key-file secret.key tls-key-file-pass secret",
    f"{GOOD} tls-client-cert-file secret.crt tls-client-key-file secret.key tls-client-key-file-pass secret",
    f"{GOOD} tls-client-cert-file secret.crt tls-client-key-file secret.key",
    f"{GOOD} tls-client-cert-file client.crt tls-client-key-file client.key",
    f"{GOOD} tls-client-cert-file client.crt tls-client-key-file server.key",
    f"{GOOD} tls-client-cert-file client.crt",
    f"{GOOD} tls-client-key-file client.key",
    f"{GOOD} tls-protocols TLSv1.2",
    f"{GOOD} tls-protocols TLSv1.4",
    f"{GOOD} tls-protocols tlsv1.2,TLSv1.3",
    f"{GOOD} tls-ciphers nothing",
    f"{GOOD} tls-ciphers ECDHE-ECDSA-AES128-GCM-SHA256",
    f"{GOOD} tls-ciphersuites nothing",
    f"{GOOD} tls-ciphersuites TLS_AES_128_GCM_SHA256",
    f"{GOOD} tls-dh-params-file missing",
    f"{GOOD} tls-dh-params-file no.pem",
    f"{GOOD} tls-session-caching no",
]


@pytest.fixture(scope="module")
def folder(papers: Papers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for path in papers.folder.iterdir():
        shutil.copy(path, folder)
    (folder / "no.pem").write_text("nothing of the kind\n")
    (folder / "secret.key").write_text(ENCRYPTED_KEY)
    (folder / "secret.crt").write_text(papers.authority.issue("secret", key=Key(1)).cert)
    return folder


def settings_of(words: str) -> TlsSettings:
    """What the directives give a node with a TLS port."""
    config = Config()
    config.set_many([("tls-port", "1")])
    names = words.split()
    for name, value in zip(names[::2], names[1::2], strict=True):
        config.set_many([(name, value)])
    return tls_settings(config)


def our_answer(words: str) -> str:
    try:
        Tls().configure(settings_of(words))
    except TlsError as error:
        return str(error)
    return ""


@pytest.mark.skipif(binary("redis7") is None, reason="Debian's redis-server is not installed")
def test_directives_are_taken_and_refused_in_the_words_of_redis_7(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    differences = []
    for words in CASES:
        ours, theirs = our_answer(words), _stock_answer(folder, words)
        if ours != theirs:
            differences.append(f"{words}\n  stock: {theirs}\n  ours:  {ours}")
    assert not differences, "\n".join(differences)


def _stock_answer(folder: Path, words: str) -> str:
    """The reason that a stock server gives for not starting; "" if it starts."""
    command = [binary("redis7"), "--port", "0", "--tls-port", str(free_port()), "--bind", "127.0.0.1", "--save", ""]
    names = words.split()
    for name, value in zip(names[::2], names[1::2], strict=True):
        command += [f"--{name}", value]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            before = ""
            for line in process.stdout:
                if "Ready to accept connections" in line:
                    return ""
                if "Failed to configure TLS. Check logs for more info." in line:
                    return before.partition(" # ")[2].strip()
                before = line
        finally:
            process.kill()
    raise AssertionError(f"neither ready nor refused: {before}")


def test_a_refusal_leaves_the_contexts_in_force(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    tls = Tls()
    tls.configure(settings_of(GOOD))
    before = tls.server
    with pytest.raises(TlsError):
        tls.configure(settings_of(f"{GOOD} tls-cert-file missing.crt"))
    assert tls.server is before
    tls.configure(settings_of(GOOD))  # CONFIG SET goes back to what was in force: nothing is read again
    assert tls.server is before
    tls.configure(settings_of(GOOD))
    assert tls.server is not before


def test_the_suites_of_tls_1_3_are_those_that_were_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert openssl.reachable()
    tls = Tls()
    tls.configure(settings_of(f"{GOOD} tls-ciphersuites TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"))
    assert tls.server is not None
    suites = [cipher["name"] for cipher in tls.server.get_ciphers() if cipher["protocol"] == "TLSv1.3"]
    assert suites == ["TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"]


def test_where_openssl_cannot_be_reached_suites_are_refused_and_not_passed_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(openssl, "_library", lambda: None)
    with pytest.raises(TlsError, match="Failed to configure ciphersuites"):
        Tls().configure(settings_of(f"{GOOD} tls-ciphersuites TLS_AES_128_GCM_SHA256"))
