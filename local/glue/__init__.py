"""Glue: crawler, jobs, triggers and workflow; the catalogue itself is moto's."""
