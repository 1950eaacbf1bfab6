"""The audit on a schedule: each closed hour once, and what it finds as a metric and in the log."""
