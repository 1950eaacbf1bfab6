"""The hook of provisioning by claim: which devices may have a certificate."""
