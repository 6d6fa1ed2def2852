#!/bin/sh
# Run once, by the postgres image, on an empty volume: the role that owns the tables and migrates,
# and the one that serves. What the second may do is granted by the migrations.
set -eu
psql --set=ON_ERROR_STOP=1 --username postgres \
	--set=owner_password="$DATABASE_OWNER_PASSWORD" --set=app_password="$DATABASE_PASSWORD" <<'SQL'
CREATE ROLE coinos_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE coinos_app LOGIN PASSWORD :'app_password';
CREATE DATABASE coinos OWNER coinos_owner;
SQL
