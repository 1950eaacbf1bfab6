"""Faults on demand: what AWS, the network and a machine do to the pipeline on a bad day."""
