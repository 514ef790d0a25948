"""What SECURE=1 needs besides compose/secure.yaml: certificates, passwords, and how both modes hand them on."""
