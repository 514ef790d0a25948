"""Local mode: the services of compose/services.yaml as processes of this machine, with a real broker beside them."""
