"""A device's first certificate, claimed with the one that all devices of its make share.

Guarantee: the private key is made here and stays; the certificate's file is written before IoT is
asked to activate it, so that none is active whose file is lost. Claimed once, a device has it.

https://docs.aws.amazon.com/iot/latest/developerguide/provision-wo-cert.html#claim-based
"""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from awscrt import mqtt5, mqtt_request_response
from awsiot import V2ServiceException, iotidentity, mqtt5_client_builder

from devices.connection import Endpoint
from devices.errors import DeviceError
from devices.keys import make_request, write_private
from devices.provisioning import DeviceFiles

# Of the stack's template: which thing the device is.
_THING_NAME: Final = "ThingName"
_CONNECT_SECONDS: Final = 30.0
# The hook has five seconds; a cold start of the local cloud's takes its time.
_ANSWER_SECONDS: Final = 30


class ClaimRefusedError(DeviceError):
    """IoT did not give the device a certificate; the message has its reason."""


@dataclass(frozen=True)
class ClaimFiles:
    """The claim certificate and its key."""

    certificate: Path
    private_key: Path


def claim_device(
    endpoint: Endpoint, claim: ClaimFiles, template: str, thing_name: str, folder: Path
) -> DeviceFiles:
    """Ask for a certificate for `thing_name` by the provisioning template `template`; where its
    files lie. Raises ClaimRefusedError, KeyFileError."""
    files = DeviceFiles(folder, thing_name)
    request = make_request(thing_name, files.private_key)
    with _identity(endpoint, claim, thing_name) as identity:
        created = _answer(
            identity.create_certificate_from_csr(
                iotidentity.CreateCertificateFromCsrRequest(certificate_signing_request=request)
            )
        )
        write_private(files.certificate, created.certificate_pem)
        _answer(
            identity.register_thing(
                iotidentity.RegisterThingRequest(
                    template_name=template,
                    certificate_ownership_token=created.certificate_ownership_token,
                    parameters={_THING_NAME: thing_name},
                )
            )
        )
    return files


@contextmanager
def _identity(
    endpoint: Endpoint, claim: ClaimFiles, thing_name: str
) -> Iterator[iotidentity.IotIdentityClientV2]:
    connected: Future[None] = Future()

    def succeeded(_: Any) -> None:
        if not connected.done():
            connected.set_result(None)

    def failed(failure: Any) -> None:
        if not connected.done():
            connected.set_exception(ClaimRefusedError(f"{thing_name}: {failure.exception}"))

    client = mqtt5_client_builder.mtls_from_path(
        endpoint=endpoint.host,
        port=endpoint.port,
        cert_filepath=str(claim.certificate),
        pri_key_filepath=str(claim.private_key),
        ca_filepath=str(endpoint.ca_file) if endpoint.ca_file else None,
        client_id=f"claim-{thing_name}",
        on_lifecycle_connection_success=succeeded,
        on_lifecycle_connection_failure=failed,
    )
    client.start()
    try:
        connected.result(_CONNECT_SECONDS)
        options = mqtt_request_response.ClientOptions(
            max_request_response_subscriptions=4,
            max_streaming_subscriptions=0,
            operation_timeout_in_seconds=_ANSWER_SECONDS,
        )
        yield iotidentity.IotIdentityClientV2(client, options)
    except TimeoutError:
        raise ClaimRefusedError(f"{thing_name}: no answer") from None
    finally:
        client.stop(mqtt5.DisconnectPacket())


def _answer(future: Future[Any]) -> Any:
    try:
        return future.result(2 * _ANSWER_SECONDS)
    except V2ServiceException as error:
        told = error.modeled_error
        if told is None:
            raise ClaimRefusedError(f"no answer ({error.inner_error})") from None
        raise ClaimRefusedError(f"{told.error_code}: {told.error_message}") from None
