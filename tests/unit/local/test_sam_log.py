"""What is told of a deployment while it runs, by what SAM has printed so far."""

import pytest

from local.deployment.sam_log import step_of

BUCKET = "\tCreating the required resources...\n"
UPLOADS = (
    "\tManaged S3 bucket: samclisourcebucket\n"
    "\tUploading to 973e  262144 / 490542  (53.44%)\r"
    "\tUploading to 973e  490542 / 490542  (100.00%)\n"
    "\tUploading to 2437  262144 / 33183415  (0.79%)"
)
MADE = "CREATE_IN_PROGRESS A\nCREATE_COMPLETE A\nCREATE_COMPLETE B\n"


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("", "SAM starts"),
        (BUCKET, "making a bucket for code"),
        (BUCKET + UPLOADS, "uploading code, 1 files done"),
        (BUCKET + UPLOADS + "Initiating deployment\n", "asking for the changes"),
        (BUCKET + UPLOADS + "Initiating deployment\n" + MADE, "2 resources"),
    ],
)
def test_the_last_step_that_sam_has_come_to_is_told(log: str, told: str) -> None:
    assert step_of(log) == told
