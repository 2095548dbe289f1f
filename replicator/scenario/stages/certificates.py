"""Certificates made for one run: an authority of its own, and what it issues. No program and no package is needed.

Keys are ECDSA over P-256, signatures SHA-256. The arithmetic is plain and takes no care of what its timing shows:
these keys live as long as a test, beside the program that they are to fool.

Source: RFC 5280 (certificates), RFC 5915 (private keys), SEC 1 (signatures), FIPS 186-4 (the curve).
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_P: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
_N: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_B_X: Final = 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296
_B_Y: Final = 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5

_DAY_S: Final = 86_400


# -- the curve: points in Jacobian coordinates (x / z**2, y / z**3), z == 0 at infinity --------------------------------


def _double(x: int, y: int, z: int) -> tuple[int, int, int]:
    yy = y * y % _P
    zz = z * z % _P
    s = 4 * x * yy % _P
    m = 3 * (x - zz) * (x + zz) % _P
    new_x = (m * m - 2 * s) % _P
    return new_x, (m * (s - new_x) - 8 * yy * yy) % _P, 2 * y * z % _P


def _add_base(x: int, y: int, z: int) -> tuple[int, int, int]:
    """The sum with the base point; neither is the other's inverse (that would be the group's order)."""
    if z == 0:
        return _B_X, _B_Y, 1
    zz = z * z % _P
    h = (_B_X * zz - x) % _P
    r = (_B_Y * zz * z - y) % _P
    if h == 0:
        return _double(x, y, z)
    hh = h * h % _P
    v = x * hh % _P
    new_x = (r * r - h * hh - 2 * v) % _P
    return new_x, (r * (v - new_x) - y * h * hh) % _P, z * h % _P


def _times_base(scalar: int) -> tuple[int, int]:
    """scalar times the base point, 0 < scalar < _N."""
    point = (0, 1, 0)
    for at in range(scalar.bit_length() - 1, -1, -1):
        point = _double(*point)
        if scalar >> at & 1:
            point = _add_base(*point)
    x, y, z = point
    inverse = pow(z, -1, _P)
    return x * inverse * inverse % _P, y * inverse**3 % _P


# -- DER ---------------------------------------------------------------------------------------------------------------


def _tagged(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body)
    if size < 128:
        return bytes((tag, size)) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def _integer(value: int) -> bytes:
    return _tagged(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    body = bytearray((first * 40 + second,))
    for number in rest:
        digits = [number & 0x7F]
        while number := number >> 7:
            digits.append(number & 0x7F | 0x80)
        body += bytes(reversed(digits))
    return _tagged(0x06, bytes(body))


def _sequence(*parts: bytes) -> bytes:
    return _tagged(0x30, *parts)


def _bits(data: bytes, unused: int = 0) -> bytes:
    return _tagged(0x03, bytes((unused,)), data)


def _moment(unix_s: float) -> bytes:
    when = time.gmtime(unix_s)
    if when.tm_year < 2050:
        return _tagged(0x17, time.strftime("%y%m%d%H%M%SZ", when).encode())
    return _tagged(0x18, time.strftime("%Y%m%d%H%M%SZ", when).encode())


def _name(common_name: str) -> bytes:
    return _sequence(_tagged(0x31, _sequence(_oid("2.5.4.3"), _tagged(0x0C, common_name.encode()))))


def _extension(oid: str, body: bytes, *, critical: bool = False) -> bytes:
    return _sequence(_oid(oid), b"\x01\x01\xff" if critical else b"", _tagged(0x04, body))


def _pem(label: str, der: bytes) -> str:
    text = base64.b64encode(der).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join((f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""))


_P256 = _oid("1.2.840.10045.3.1.7")
_ECDSA_SHA256 = _sequence(_oid("1.2.840.10045.4.3.2"))


class Key:
    """A key pair. secret: to make it again, for a test that needs a certain one."""

    def __init__(self, secret: int | None = None) -> None:
        self._secret = 1 + secrets.randbelow(_N - 1) if secret is None else secret
        x, y = _times_base(self._secret)
        self._point = b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")
        self.public = _sequence(_sequence(_oid("1.2.840.10045.2.1"), _P256), _bits(self._point))
        self.identifier = hashlib.sha1(self._point).digest()

    def sign(self, data: bytes) -> bytes:
        """The signature of the data, in DER."""
        digest = int.from_bytes(hashlib.sha256(data).digest(), "big")
        while True:
            once = 1 + secrets.randbelow(_N - 1)
            r = _times_base(once)[0] % _N
            s = pow(once, -1, _N) * (digest + r * self._secret) % _N
            if r and s:
                return _sequence(_integer(r), _integer(s))

    def pem(self) -> str:
        """The private key, not encrypted."""
        body = _sequence(
            _integer(1),
            _tagged(0x04, self._secret.to_bytes(32, "big")),
            _tagged(0xA0, _P256),
            _tagged(0xA1, _bits(self._point)),
        )
        return _pem("EC PRIVATE KEY", body)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, as PEM."""

    cert: str
    key: str

    def save(self, folder: Path, name: str) -> tuple[str, str]:
        """Write NAME.crt and NAME.key (for the owner alone); their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        cert_path, key_path = folder / f"{name}.crt", folder / f"{name}.key"
        cert_path.write_text(self.cert)
        with open(os.open(key_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(self.key)
        return str(cert_path), str(key_path)


class Authority:
    """A certificate authority of one run."""

    def __init__(self, name: str = "replicator run") -> None:
        self._name = name
        self._key = Key()
        self.cert = self._certificate(name, self._key, (), (-1.0, 30.0), authority=True)

    def issue(
        self,
        name: str,
        hosts: Sequence[str] = ("127.0.0.1", "::1", "localhost"),
        *,
        days: tuple[float, float] = (-1.0, 30.0),
        key: Key | None = None,
    ) -> Certificate:
        """A certificate for clients and servers. hosts: addresses and names it is good for. days: from and to, counted
        from now. key: to certify that one."""
        key = key or Key()
        return Certificate(self._certificate(name, key, hosts, days), key.pem())

    def _certificate(
        self, name: str, key: Key, hosts: Sequence[str], days: tuple[float, float], *, authority: bool = False
    ) -> str:
        now_s = time.time()
        usage = b"\x06" if authority else b"\x80"  # certificates and revocations; or signatures
        extensions = [
            _extension("2.5.29.19", _sequence(b"\x01\x01\xff" if authority else b""), critical=True),
            _extension("2.5.29.15", _bits(usage, 1 if authority else 7), critical=True),
            _extension("2.5.29.14", _tagged(0x04, key.identifier)),
            _extension("2.5.29.35", _sequence(_tagged(0x80, self._key.identifier))),
        ]
        if hosts:
            extensions.append(_extension("2.5.29.17", _sequence(*map(_alternative_name, hosts))))
        content = _sequence(
            _tagged(0xA0, _integer(2)),  # version 3
            _integer(secrets.randbits(120) | 1 << 120),
            _ECDSA_SHA256,
            _name(self._name),
            _sequence(_moment(now_s + days[0] * _DAY_S), _moment(now_s + days[1] * _DAY_S)),
            _name(name),
            key.public,
            _tagged(0xA3, _sequence(*extensions)),
        )
        return _pem("CERTIFICATE", _sequence(content, _ECDSA_SHA256, _bits(self._key.sign(content))))


def _alternative_name(host: str) -> bytes:
    try:
        return _tagged(0x87, ipaddress.ip_address(host).packed)
    except ValueError:
        return _tagged(0x82, host.encode())
