"""Unit tests run in memory: whoever opens a socket fails."""

from collections.abc import Iterator

import pytest
from pytest_socket import disable_socket, enable_socket


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # A shell that sourced the local cloud's environment leads clients past moto.
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    disable_socket()
    yield
    enable_socket()
