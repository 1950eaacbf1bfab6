"""What a test serves on loopback while it needs it, and boto3's clients of that."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from moto.moto_api._internal.models import moto_api_backend

from local.api import ACCESS_KEY, REGION
from local.object_store import moto_application
from local.web_server import HOST, WebServer

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


@contextmanager
def served(application: "WSGIApplication") -> Iterator[str]:
    """The endpoint at which `application` answers, on a free port."""
    server = WebServer(0, application)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://{HOST}:{server.port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def empty_moto() -> "WSGIApplication":
    """moto's services as the local cloud has them, without what the tests before left in them."""
    moto_api_backend.reset()  # moto keeps one account for the whole process
    return moto_application()


def client_of(endpoint: str, service: str, *, attempts: int = 1, **config: Any) -> Any:
    """A boto3 client of `endpoint`, which does not try again by itself unless it is told to."""
    return boto3.client(  # type: ignore[call-overload]  # the stubs know literal names only
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=ACCESS_KEY,
        config=Config(retries={"total_max_attempts": attempts}, **config),
    )
