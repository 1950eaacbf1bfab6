"""The Glue catalogue of the account, for reading: its tables, and the files of their zone."""

from __future__ import annotations

import boto3
from pyiceberg.catalog import Catalog, load_catalog

from ops.errors import OperationError


def catalogue_of(session: boto3.Session) -> Catalog:
    """The account's Glue catalogue as PyIceberg sees it, at the endpoints that the SDK takes."""
    credentials = session.get_credentials()
    if credentials is None:
        raise OperationError("no AWS credentials: configure the SDK, or . build/local/environment")
    keys = credentials.get_frozen_credentials()
    return load_catalog(
        "lake",
        type="glue",
        **{
            "client.region": session.region_name,
            "client.access-key-id": keys.access_key,
            "client.secret-access-key": keys.secret_key,
            **({"client.session-token": keys.token} if keys.token else {}),
            "glue.endpoint": session.client("glue").meta.endpoint_url,
            "s3.endpoint": session.client("s3").meta.endpoint_url,
        },
    )
