"""The template as CloudFormation sees it: expanded, offline, by SAM's own translator.

`sam validate --lint` reports nothing about resources that SAM generates (a batch size of 50,000
passes), so cfn-lint and the tests look at this expansion.

    python -m tests.template.expand OUT.json
"""

import json
import sys
from pathlib import Path
from typing import Any

import boto3
from cfnlint.decode import cfn_yaml
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "template.yaml"

_REGION = "us-east-1"  # the translator asks for a partition; nothing of it is left in the result


def source() -> dict[str, Any]:
    """The template as it is written, its short forms (`!Ref`) spelt out."""
    loaded: dict[str, Any] = json.loads(json.dumps(cfn_yaml.load(str(TEMPLATE)), default=str))
    return loaded


def expand() -> dict[str, Any]:
    """The template after the SAM transform.

    Raises samtranslator's InvalidDocumentException for what the transform would refuse.
    """
    template = source()
    for resource in template["Resources"].values():
        for name in ("CodeUri", "ContentUri"):
            # What `sam package` would put there.
            if name in resource.get("Properties", {}):
                resource["Properties"][name] = "s3://artifacts/object"
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name=_REGION))
    expanded: dict[str, Any] = translator.translate(template, {})
    return expanded


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(expand(), indent=1, default=str))
