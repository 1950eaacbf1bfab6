"""IoT rules: their SQL, and what their actions do with a message."""
