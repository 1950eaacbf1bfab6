"""The contract: what a reading is, said once, for everything that takes, stores or checks one.

`fields` is the table that people edit; decoding, validation, the raw schema and the documentation
follow from it. Nothing here reads a clock, an environment variable or a network: a decision about
a record depends on that record alone, so a retry or a redrive days later decides the same.
"""
