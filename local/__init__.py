"""The local cloud: `template.yaml` run whole on one machine, on loopback, without an AWS account."""
