"""What a month costs: quantities of a load under the settings, times a dated price table."""
