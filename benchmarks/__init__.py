"""What anyone can run to compare the consumer with what they would write otherwise."""
