"""The consumer: records of the stream become objects of the raw and the rejected zone."""
