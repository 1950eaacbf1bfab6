"""The local cloud: `template.yaml` run whole on one machine, on loopback, without AWS."""
