"""Kinesis Data Streams: streams, shards and their API, in memory."""
