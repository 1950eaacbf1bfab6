"""The erasure: one device leaves every zone and table, and is kept out of what comes later."""
