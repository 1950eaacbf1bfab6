"""The template in its two forms, and a stack made of it with the parameters that a test gives."""

from typing import Any, Protocol

import pytest

from tests.template.expand import expand, source
from tests.template.resolve import resolve

KEY_ARN = "arn:aws:kms:eu-west-1:111122223333:key/0a1b2c3d"


class MakeStack(Protocol):
    """Resources by logical id, everything conditional decided by the given parameters."""

    def __call__(self, **parameters: str) -> dict[str, Any]: ...


@pytest.fixture(scope="session")
def template() -> dict[str, Any]:
    """The template as it is written."""
    return source()


@pytest.fixture(scope="session")
def expanded() -> dict[str, Any]:
    """The template as CloudFormation sees it."""
    return expand()


@pytest.fixture(scope="session")
def make_stack(expanded: dict[str, Any]) -> MakeStack:
    def make(**parameters: str) -> dict[str, Any]:
        resources: dict[str, Any] = resolve(expanded, **parameters)["Resources"]
        return resources

    return make


@pytest.fixture(scope="session")
def stack(make_stack: MakeStack) -> dict[str, Any]:
    """The resources of a stack made with the defaults."""
    return make_stack()
