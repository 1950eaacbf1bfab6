"""Lambda's event source mapping: carries a stream's records to the function, batch by batch."""
