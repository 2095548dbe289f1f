"""Certificates for the tests of this folder."""

from __future__ import annotations

import pytest

from tests.support.tls import Papers, make_papers


@pytest.fixture(scope="session")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return make_papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="session")
def other_papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    """Those of an authority that nobody trusts."""
    return make_papers(tmp_path_factory.mktemp("other-papers"), "somebody else")
