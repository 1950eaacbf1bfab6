"""The replay: readings built anew from raw, by a run of the curation job."""
