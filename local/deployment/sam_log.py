"""How far `sam deploy` is, by what it has printed: the minute before the first resource is long."""

import re

# The latest first: the last that SAM has come to is told.
_STEPS = (
    ("Initiating deployment", "asking for the changes"),
    ("Successfully packaged", "code is uploaded"),
    ("Uploading to ", "uploading code"),
    ("Managed S3 bucket", "a bucket for code is there"),
    ("Creating the required resources", "making a bucket for code"),
)
_UPLOADED = re.compile(r"Uploading to (\S+)  (\d+) / \2 ")


def step_of(log: str) -> str:
    """The step that `log`, SAM's output so far, ends in; resources once there are some."""
    if made := log.count("CREATE_COMPLETE"):
        return f"{made} resources"
    told = next((told for printed, told in _STEPS if printed in log), "SAM starts")
    if told == "uploading code":
        told = f"uploading code, {len(set(_UPLOADED.findall(log)))} files done"
    return told
