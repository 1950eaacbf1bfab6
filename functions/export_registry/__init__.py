"""The scheduled export of IoT's registry to the reference table of the curation job."""
