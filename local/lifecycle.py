"""Bringing the local cloud up and down: a process of its own, found again by what it wrote.

Guarantees: `start` and `deploy` return when what they promise is there, or raise LifecycleError
with one line that says what is wrong; `stop` ends the process that this folder's cloud is, and no
other; no account of AWS is ever reached, whatever the shell's environment says.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import quote

import boto3

from devices.connection import Endpoint, parse_endpoint
from devices.provisioning import provision_fleet
from local.api import ACCESS_KEY, REGION
from local.containers import NoContainersError, bridge_address, write_variables
from local.deployment.sam_log import step_of
from local.functions.artifact import host_architecture
from local.glue.java import JavaNotFoundError
from local.glue.spark import SparkSetupError, find_spark
from local.web_server import PortInUseError, is_listening

FOLDER: Final = Path("build/local")
# The cloud of `up` has fixed ports, so that what a shell was told stays true.
ENDPOINT_PORT: Final = int(os.environ.get("LOCAL_CLOUD_PORT", "4780"))
DEVICE_PORT: Final = int(os.environ.get("LOCAL_DEVICE_PORT", "8883"))

_PORT_VARIABLES: Final = ("LOCAL_CLOUD_PORT", "LOCAL_DEVICE_PORT")
_ROOT: Final = Path(__file__).resolve().parents[1]
_BUILT_TEMPLATE: Final = _ROOT / "build/sam-host/packed.yaml"
_START_SECONDS: Final = 400  # the first start fetches the broker
_STOP_SECONDS: Final = 40
_POLL_SECONDS: Final = 0.1
_WRITTEN: Final = ("devices", "functions", "glue", "intake", "logs")
_DEVICE: Final = "device-001"
# No proxy stands between this machine and itself.
_open_url = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class LifecycleError(Exception):
    """Something is missing or in the way; the message is one line that says what to do."""


class LocalCloud:
    """One local cloud, whose files are below `folder`. Ports of 0 are free ones.

    `bound` ends the cloud's process when this one is gone, however it went.
    """

    def __init__(
        self,
        folder: Path = FOLDER,
        *,
        port: int = 0,
        device_port: int = 0,
        bound: bool = True,
        for_containers: bool = False,
        throttling: bool = False,
    ) -> None:
        self.folder = folder.absolute()
        self.region = REGION
        self.stack = "iot-telemetry-lake-local"
        self._ports = (port, device_port)
        self._bound = bound
        self._for_containers = for_containers
        self._throttling = throttling
        self._bridge_address: str | None = None

    @property
    def endpoint(self) -> str:
        """Where AWS's services are, as AWS_ENDPOINT_URL has it."""
        return str(self._state()["endpoint"])

    @property
    def is_up(self) -> bool:
        """Whether the process that this folder tells of is there."""
        return self._pid() is not None

    def start(self, show: Callable[[str], None] = lambda _: None) -> None:
        """Start the process and return when it answers.

        From then on this process too finds AWS's services there: its environment is set.
        """
        show("Java and Spark's jars")
        for number, variable in zip(self._ports, _PORT_VARIABLES, strict=True):
            if number and is_listening(number):
                raise LifecycleError(str(PortInUseError(number, variable)))
        try:
            find_spark()
        except (SparkSetupError, JavaNotFoundError) as error:
            raise LifecycleError(str(error)) from None
        if self._for_containers:
            try:
                self._bridge_address = bridge_address()
            except NoContainersError as error:
                raise LifecycleError(f"no `sam local invoke` here: {error}") from None
        show("services")
        # What an earlier cloud held, its devices and messages included, is nothing to this one.
        for name in _WRITTEN:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / "logs").mkdir(parents=True)
        self._state_file.unlink(missing_ok=True)
        port, device_port = self._ports
        command = [sys.executable, "-m", "local", "serve", "--folder", str(self.folder)]
        command += ["--port", str(port), "--device-port", str(device_port)]
        command += ["--bound-to", str(os.getpid())] if self._bound else []
        command += ["--throttling"] if self._throttling else []
        command += ["--also-on", self._bridge_address] if self._bridge_address else []
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=_ROOT,
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches the foreground's group; the cloud ends when it is told to.
                start_new_session=True,
            )
        try:
            self._wait_for(process)
        except BaseException:  # Ctrl-C too: nothing may stay behind; raised again
            _end(process)
            raise
        os.environ.update(self.variables())

    def deploy(
        self,
        show: Callable[[str], None] = lambda _: None,
        parameters: Mapping[str, str] = MappingProxyType({}),
    ) -> dict[str, str]:
        """`sam deploy` of the built template, with `parameters` of its own; the stack's outputs."""
        if not _BUILT_TEMPLATE.exists():
            raise LifecycleError("the application is not built: make build")
        command = [
            _sam(),
            "deploy",
            *("--template-file", str(_BUILT_TEMPLATE)),
            # Without this SAM looks for it beside the template.
            *("--config-file", str(_ROOT / "samconfig.toml")),
            *("--config-env", "local", "--stack-name", self.stack),
            "--parameter-overrides",
            *_configured_overrides(),
            f"Architecture={host_architecture()}",
            f"EndpointUrl={self.endpoint}",
            *(f"{name}={value}" for name, value in parameters.items()),
        ]
        log = self.folder / "logs/deploy.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=_ROOT,
                env=clean_environment() | self.variables() | {"SAM_CLI_POLL_DELAY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            while process.poll() is None:
                time.sleep(0.5)
                show(step_of(log.read_text(errors="replace")))
        except BaseException:  # Ctrl-C too: nothing may stay behind; raised again
            _end(process)
            raise
        if process.returncode:
            raise LifecycleError(f"sam deploy failed: {_reason(log)} (all of it: {log})")
        return self.outputs()

    def stop(self) -> bool:
        """End the cloud's process and wait for it; whether there was one. Idempotent."""
        pid = self._pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + _STOP_SECONDS
            while _is_cloud(pid, self.folder):
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(_POLL_SECONDS)
        self._state_file.unlink(missing_ok=True)
        self._environment_file.unlink(missing_ok=True)
        return pid is not None

    def status(self) -> dict[str, Any]:
        """What GET /_local/status tells."""
        return self._ask("/_local/status")

    def inject(self, kind: str, **settings: Any) -> str:
        """Inject a fault (`local.faults`) and give its name; LifecycleError if it is wrong."""
        request = {"kind": kind, **settings}
        # A restart of the broker takes as long as it is told.
        name: str = self._ask("/_local/faults", "POST", request, timeout=600)["name"]
        return name

    def faults(self) -> list[dict[str, Any]]:
        """Every injected fault with its settings and how often it has `fired`."""
        shown: list[dict[str, Any]] = self._ask("/_local/faults")["faults"]
        return shown

    def clear_faults(self, name: str = "") -> int:
        """Take back the fault `name`, or all; how many there were."""
        path = "/_local/faults" + (f"/{quote(name, safe='')}" if name else "")
        return int(self._ask(path, "DELETE")["cleared"])

    def evaluate_alarms(self) -> dict[str, str]:
        """The deployed alarms' states by name, evaluated now with everything measured so far."""
        states: dict[str, str] = self._ask("/_local/alarms", "POST")["alarms"]
        return states

    def outputs(self) -> dict[str, str]:
        """The stack's outputs."""
        cloudformation = self._client("cloudformation")
        stack = cloudformation.describe_stacks(StackName=self.stack)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def device_endpoint(self) -> Endpoint:
        """Where devices connect, and whom they trust."""
        return parse_endpoint(
            str(self._state()["device_endpoint"]), Path(self._state()["device_authority"])
        )

    def variables(self) -> dict[str, str]:
        """The environment in which AWS's tools and SDKs act on this cloud."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "NO_PROXY": ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1,localhost"))),
        }

    def write_environment(self, outputs: Mapping[str, str]) -> Path:
        """Write `environment`, which a shell sources: endpoint, stack, one registered device."""
        endpoint = self.device_endpoint()
        device = provision_fleet(
            self._client("iot"), [_DEVICE], outputs["DevicePolicyName"], self.folder / "devices"
        )[0]
        variables = self.variables() | {
            "STACK_NAME": self.stack,
            **{_variable_name(output): value for output, value in outputs.items()},
            "DEVICE_ENDPOINT": f"{endpoint.host}:{endpoint.port}",
            "DEVICE_CA": str(endpoint.ca_file),
            "DEVICE_NAME": device.thing_name,
            "DEVICE_CERTIFICATE": str(device.certificate_file),
            "DEVICE_PRIVATE_KEY": str(device.private_key_file),
            "DASHBOARDS_URL": f"{self.endpoint}/_local/dashboards",
        }
        # PyIceberg takes its S3 endpoint from nowhere else.
        variables |= {
            "PYICEBERG_CATALOG__GLUE__S3__ENDPOINT": self.endpoint,
            "PYICEBERG_CATALOG__GLUE__S3__REGION": REGION,
        }
        # Those of AWS's console show nothing of the local cloud.
        for name in ("NO_PROXY", "PIPELINE_DASHBOARD_URL", "OPERATIONS_DASHBOARD_URL"):
            variables.pop(name, None)
        lines = ["unset AWS_PROFILE AWS_SESSION_TOKEN\n"]
        lines += [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
        self._environment_file.write_text("".join(lines))
        if self._for_containers:
            write_variables(
                self.folder / "sam-local.json", self.endpoint, self._bridge_address, outputs
            )
        return self._environment_file

    def _ask(
        self, path: str, method: str = "GET", body: object = None, timeout: float = 30
    ) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.endpoint}{path}", data, method=method)  # noqa: S310 - loopback
        try:
            with _open_url(request, timeout=timeout) as answer:
                told: dict[str, Any] = json.load(answer)
        except HTTPError as error:
            raise LifecycleError(json.load(error)["message"]) from None
        except URLError as error:
            raise LifecycleError(f"the local cloud does not answer: {error.reason}") from None
        return told

    @property
    def _state_file(self) -> Path:
        return self.folder / "cloud.json"

    @property
    def _environment_file(self) -> Path:
        return self.folder / "environment"

    @property
    def _log(self) -> Path:
        return self.folder / "logs/cloud.log"

    def _state(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads(self._state_file.read_text())
        except (OSError, ValueError):
            raise LifecycleError("the local cloud is not up: make up") from None
        return state

    def _pid(self) -> int | None:
        try:
            pid = int(self._state()["pid"])
        except LifecycleError:
            return None
        return pid if _is_cloud(pid, self.folder) else None

    def _wait_for(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._state_file.exists():
            if process.poll() is not None:
                raise LifecycleError(_reason(self._log))
            if time.monotonic() > deadline:
                raise LifecycleError(f"the local cloud does not get ready: see {self._log}")
            time.sleep(_POLL_SECONDS)

    def _client(self, service: str) -> Any:
        # The stubs know services by their literal names only.
        return boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=ACCESS_KEY,
        )


def _variable_name(output: str) -> str:
    """TelemetryStreamName as TELEMETRY_STREAM_NAME."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", output).upper()


def clean_environment() -> dict[str, str]:
    """This process's environment without anything that leads to an account of AWS."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return kept | {
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "SAM_CLI_TELEMETRY": "0",
        "PYTHONUNBUFFERED": "1",
    }


def _sam() -> str:
    beside = _ROOT / ".venv-sam/bin/sam"
    sam = os.environ.get("SAM") or (str(beside) if beside.exists() else shutil.which("sam"))
    if not sam:
        raise LifecycleError("the SAM CLI is missing: `make up` and `make demo` install it")
    return sam


def _configured_overrides() -> list[str]:
    """samconfig's parameters of `local`: an option on the command line replaces them all."""
    configuration = tomllib.loads((_ROOT / "samconfig.toml").read_text())
    overrides: list[str] = configuration["local"]["deploy"]["parameters"]["parameter_overrides"]
    return overrides


def _reason(log: Path) -> str:
    """What a log says was wrong: its last error with the lines after it, else its last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [at for at, line in enumerate(lines) if line.lower().startswith("error:")]
    told = lines[errors[-1] :][:3] if errors else lines[-1:]
    return " ".join(told or ["it said nothing"]).removeprefix("error: ").removeprefix("Error: ")


def _is_cloud(pid: int, folder: Path) -> bool:
    """Whether process `pid` is there and is the cloud of `folder`, not one that got its number."""
    command = _command_line(pid)
    return "local serve" in command and str(folder) in command


def _command_line(pid: int) -> str:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
        return raw.replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        if Path("/proc/self").exists():
            return ""
    # macOS has no /proc.
    answer = subprocess.run(
        ["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return answer.stdout


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process that was started here, and what it started."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
