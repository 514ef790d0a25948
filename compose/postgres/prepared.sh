# Run by the image when the database is there, as the last step of its first start: see compose/postgres.yaml.
touch "$PGDATA/prepared"
