"""The inventory of the tests in test_programs.py: its hosts and services, and an image to upload."""

from __future__ import annotations

HOSTS = """\
stack: programs
ssh: {user: root, gateway: lab}
hosts:
  lb1: {address: 192.168.66.16, public: 192.168.67.16, roles: [balancer]}
  app1: {address: 192.168.66.14, roles: [app]}
  app2: {address: 192.168.66.15, roles: [app]}
  db1: {address: 192.168.66.11, roles: [db]}
balancer: {server_names: [shop.example], maintenance: {allow: [192.168.66.14/32]}}
services: {web: {source: SOURCE, project: shop}}
database: {name: shop}
"""
SHOP = """\
kind: django
source: shop
project: shop
health: /admin/login/
env:
  ALLOWED_HOSTS: ${site.names}
  DATABASE_URL: ${database.url}
secrets: {SECRET_KEY: {generate: 50}}
"""
CHAT = """\
kind: python
source: chat
path: /chat/
env: {WHERE: "${host.name}"}
processes:
  web:
    # uvicorn sends a ping every 20 s by default, so an idle connection would not be silent.
    command: uvicorn main:app --host ${host.address} --port ${port} --forwarded-allow-ips='*' --ws-ping-interval 3600
    port: 8001
    health: /health
"""
CMS = """\
kind: django
source: cms
project: cms
health: /admin/login/
max_body: 50M
env:
  DJANGO_SETTINGS_MODULE: cms.settings.production
  ALLOWED_HOSTS: ${site.names}
  DATABASE_URL: ${database.url}
  BUCKET: pictures
  AWS_ENDPOINT_URL_S3: '@ENDPOINT@'
  AWS_CA_BUNDLE: ${service.folder}/authority.pem
secrets:
  SECRET_KEY: {generate: 50}
  AWS_ACCESS_KEY_ID: {command: printf %s @KEY@}
  AWS_SECRET_ACCESS_KEY: {command: printf %s @SECRET@}
"""
ERRORS = """\
kind: python
source: errors
writable: [queue]
before:
  migrate: {command: bugsink-manage migrate, once: true}
  queue: {command: bugsink-manage migrate snappea --database=snappea}
env:
  BASE_URL: ${site.url}
  ALLOWED_HOSTS: ${site.names}
  BEHIND_HTTPS_PROXY: "true"
  DATABASE_URL: ${database.url}
  # Bugsink does not read the URL's parameters, but its driver reads these variables.
  PGHOST: ${database.hosts}
  PGTARGETSESSIONATTRS: read-write
  PGSSLMODE: verify-full
  PGSSLROOTCERT: ${database.ca}
  QUEUE: ${service.folder}/queue
  PHONEHOME: "false"
secrets: {SECRET_KEY: {generate: 50}}
processes:
  web: {command: "gunicorn bugsink.wsgi --bind ${host.address}:${port}", port: 8002, health: /health/ready}
  tasks: {command: bugsink-runsnappea}
"""
# What the account of the service may do with its bucket.
POLICY = """\
{"Version": "2012-10-17", "Statement": [{
  "Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::pictures", "arn:aws:s3:::pictures/*"]
}]}
"""
# A red dot.
IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4//8/w38GIAXDIBKE0DHxg"
    "ljNBAAO9TXL0Y4OHwAAAABJRU5ErkJggg=="
)
