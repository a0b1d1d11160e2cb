"""An S3 server for the lab tests, with one bucket and an account that may only do what its policy permits.

It runs in the network of a lab, over TLS, and checks signatures and permissions: python -m tests.lab.bucket ADDRESS
PORT FOLDER BUCKET. FOLDER has its certificate, its key and the policy, and gets the credentials of the account.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plainstack.lab.of_inventory import of
from plainstack.secrets import signing
from tests import inventories
from tests.lab.operator import ROOT, Operator
from tests.waiting import until

NAME = "example-backups"
_PORT = 9443


class Server:
    """A running server: the URL of its endpoint, the file of its authority, and the account's key and secret."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self.endpoint = endpoint
        self.authority = folder / "authority.pem"
        known = json.loads((folder / "account.json").read_text())
        self.key: str = known["AccessKeyId"]
        self.secret: str = known["SecretAccessKey"]


@contextmanager
def serving(operator: Operator, folder: Path, bucket: str, policy: str) -> Iterator[Server]:
    """Run a server in the network of an operator's lab, at an address that the hosts reach."""
    lab = of(inventories.load(operator.inventory))
    address = str(lab.private.ip)
    authority = signing.authority("buckets", datetime.now(UTC))
    leaf = signing.leaf(authority, (address,), datetime.now(UTC))
    (folder / "authority.pem").write_text(authority["chain"])
    (folder / "certificate.pem").write_text(leaf["chain"])
    (folder / "key.pem").write_text(leaf["key"])
    (folder / "policy.json").write_text(policy)
    enter = ["nsenter", f"--net=/run/netns/{lab.namespace}"]
    program = [sys.executable, "-m", "tests.lab.bucket", address, str(_PORT), str(folder), bucket]
    with (folder / "log").open("w") as log:
        # The first four requests prepare the account, and are not checked.
        environment = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "4"}
        server = subprocess.Popen([*enter, *program], cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        until((folder / "account.json").exists, "the S3 server does not start")
        yield Server(f"https://{address}:{_PORT}", folder)
    finally:
        server.kill()
        server.wait()


def documented_policy() -> str:
    """Return the policy that docs/backups.md gives to the account of the second copy."""
    text = (ROOT / "docs/backups.md").read_text(encoding="utf-8")
    found = re.search(r'^    \{"Version".*?(?=^\S)', text, re.M | re.S)
    assert found
    return json.dumps(json.loads(found[0]))


def main(address: str, port: str, folder: Path, bucket: str) -> None:
    """Serve until the process is killed."""
    from moto.moto_server.werkzeug_app import create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        # Otherwise there is a handshake for each request, and each answer waits for an acknowledgement.
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_request(self, *_what: object) -> None:
            pass

    applications = {service: create_backend_app(service) for service in ("s3", "iam")}

    def application(environment: dict[str, Any], start: Any) -> Any:
        # moto's own dispatcher looks for all services of Amazon's at each request.
        service = "iam" if "/iam/" in environment.get("HTTP_AUTHORIZATION", "") else "s3"
        return applications[service](environment, start)

    certificate = (str(folder / "certificate.pem"), str(folder / "key.pem"))
    server = make_server(
        address,
        int(port),
        application,
        threaded=True,
        request_handler=Handler,
        ssl_context=certificate,
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    prepared = folder / "account.new"
    prepared.write_text(json.dumps(_account(f"https://{address}:{port}", folder, bucket)))
    shutil.move(prepared, folder / "account.json")
    thread.join()


def _account(endpoint: str, folder: Path, bucket: str) -> dict[str, str]:
    from botocore.session import Session

    def client(service: str) -> Any:
        return Session().create_client(
            service,
            region_name="us-east-1",
            endpoint_url=endpoint,
            verify=str(folder / "authority.pem"),
            aws_access_key_id="root",
            aws_secret_access_key="root",
        )

    client("s3").create_bucket(Bucket=bucket)
    iam = client("iam")
    iam.create_user(UserName="hosts")
    policy = (folder / "policy.json").read_text()
    iam.put_user_policy(UserName="hosts", PolicyName="hosts", PolicyDocument=policy)
    key = iam.create_access_key(UserName="hosts")["AccessKey"]
    return {name: str(key[name]) for name in ("AccessKeyId", "SecretAccessKey")}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4])
