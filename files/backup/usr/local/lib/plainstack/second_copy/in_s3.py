"""A bucket that holds the second copy: S3 and what is compatible with it.

A bucket has no folders and links: an empty object whose name ends with a slash stands for an empty folder, and one with
the metadata `link` for a symbolic link. The metadata `mtime` has the time of a file's last change.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session
from destination import Destination
from from_s3 import Pace, Receiver
from s3_failures import Refusals, translated
from s3transfer.manager import TransferConfig, TransferManager

_AT_ONCE = 8


@dataclass(frozen=True)
class Bucket(Destination):
    """A bucket, and the beginning of the names in it: s3://bucket/prefix. `endpoint` is empty for Amazon's own.

    `ca` is a file with the authorities that the endpoint's certificate may be from.
    """

    bucket: str
    prefix: str
    endpoint: str
    region: str
    credentials: Path
    ca: str

    @property
    def to(self) -> str:
        """The destination as the inventory names it."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @cached_property
    def _client(self) -> Any:
        keys = json.loads(self.credentials.read_text())
        config = Config(
            signature_version="s3v4",
            connect_timeout=15,
            read_timeout=120,
            retries={"mode": "standard", "max_attempts": 5},
            max_pool_connections=2 * _AT_ONCE,
            # Not all servers know the newer checksums. With a signed payload, the server compares its SHA-256.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"payload_signing_enabled": True, "addressing_style": "path" if self.endpoint else "auto"},
        )
        return Session().create_client(
            "s3",
            region_name=self.region,
            endpoint_url=self.endpoint or None,
            verify=self.ca,
            aws_access_key_id=keys["access_key_id"],
            aws_secret_access_key=keys["secret_access_key"],
            config=config,
        )

    def _translated(self) -> translated:
        host = urlsplit(self.endpoint).hostname if self.endpoint else "Amazon S3"
        return translated(Refusals(str(host), self.here, self.bucket))

    def check(self) -> None:
        """Raise Failed unless the bucket can be listed."""
        with self._translated():
            self._client.list_objects_v2(Bucket=self.bucket, Prefix=self._key(""), MaxKeys=1)

    def wait(self, seconds: float = 60) -> None:
        """Check, and remove the parts of large files that an interrupted run has left."""
        super().wait(seconds)
        # A rule of the bucket can do this too.
        with self._translated(), suppress(ClientError):
            left = self._client.list_multipart_uploads(Bucket=self.bucket, Prefix=self._key(""))
            for one in left.get("Uploads", ()):
                self._client.abort_multipart_upload(Bucket=self.bucket, Key=one["Key"], UploadId=one["UploadId"])

    def send(
        self, source: Path, only: Sequence[str] | None = None, *, once: bool = False, without: Sequence[str] = ()
    ) -> bool:
        """Upload files: those of backups several at a time, WAL in the order of its names."""
        found = list(_below(source, only, without))
        vanished = False
        with self._translated(), self._uploads() as uploads:
            there = self._listed(_tops(found) if only is None else only)
            pace = Pace(self.bandwidth * 1024)
            running = []
            for name in found:
                path = source / name
                if once and name in there:
                    continue
                try:
                    if name.endswith("/") or path.is_symlink():
                        self._mark(name, path)
                    elif once:
                        # The client does not count smaller files.
                        pace.spend(size if (size := path.stat().st_size) < 256 * 1024 else 0)
                        put = uploads.upload(str(path), self.bucket, self._key(name), {"Metadata": _metadata(path)})
                        running.append(put)
                        if name.startswith("wals/"):
                            put.result()
                    else:
                        self._replace(name, path, there.get(name, ""), pace)
                except FileNotFoundError:
                    vanished = True
            for put in running:
                try:
                    put.result()
                except FileNotFoundError:
                    vanished = True
        return vanished

    def _uploads(self) -> TransferManager:
        limit = self.bandwidth * 1024 or None
        config = TransferConfig(
            max_request_concurrency=_AT_ONCE,
            multipart_threshold=64 * 2**20,
            multipart_chunksize=64 * 2**20,
            max_bandwidth=limit,
        )
        return TransferManager(self._client, config)

    def _mark(self, name: str, path: Path) -> None:
        metadata = {} if name.endswith("/") else {"link": quote(str(path.readlink()))}
        self._client.put_object(Bucket=self.bucket, Key=self._key(name), Body=b"", Metadata=metadata)

    def _replace(self, name: str, path: Path, digest: str, pace: Pace) -> None:
        """Upload a file that may be written meanwhile, unless the copy has it already as it is now."""
        content = path.read_bytes()
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != digest:
            metadata = _metadata(path)
            pace.spend(len(content))
            self._client.put_object(Bucket=self.bucket, Key=self._key(name), Body=content, Metadata=metadata)

    def fetch(self, only: Sequence[str], into: Path, *, once: bool = False, without: Sequence[str] = ()) -> None:
        """Download files, several at a time."""
        with self._translated():
            listed = [name for name in self._listed(only) if not _matches(name, without)]
        self.fetch_listed([name for name in listed if not (once and (into / name).exists())], into)

    def fetch_listed(self, names: Iterable[str], into: Path) -> None:
        """Download these files, several at a time."""
        pace = Pace(self.bandwidth * 1024)
        receiver = Receiver(self._client, self.bucket, self._key(""), into, pace)
        with self._translated(), ThreadPoolExecutor(_AT_ONCE) as pool:
            # Links last: no file may be written through one.
            links = [link for link in pool.map(receiver.receive, names) if link]
            for path, to in links:
                path.unlink(missing_ok=True)
                path.symlink_to(to)

    def names(self, folder: str) -> list[str]:
        """List the files below a folder."""
        with self._translated():
            found = list(self._listed([f"{folder}/"]))
        return [name.removeprefix(f"{folder}/") for name in found if not name.endswith("/")]

    def remove(self, names: Sequence[str], stage: Path) -> None:  # noqa: ARG002 - only rsync needs a folder
        """Delete objects one by one: not all servers accept lists with the checksums of this client."""
        with self._translated(), ThreadPoolExecutor(_AT_ONCE) as pool:
            files = [name for name in names if not name.endswith("/")]
            files += self._listed([name for name in names if name.endswith("/")])
            list(pool.map(lambda name: self._client.delete_object(Bucket=self.bucket, Key=self._key(name)), files))

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _listed(self, names: Sequence[str]) -> dict[str, str]:
        """Return the files of the copy with these names and below these folders, each with its MD5 digest if known."""
        found: dict[str, str] = {}
        for wanted in names:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self._key(wanted))
            for page in pages:
                for one in page.get("Contents", ()):
                    name = one["Key"].removeprefix(self._key(""))
                    if name.startswith(wanted) if wanted.endswith("/") else name == wanted:
                        found[name] = one["ETag"].strip('"')
        return found


def _below(source: Path, only: Sequence[str] | None, without: Sequence[str]) -> Iterator[str]:
    """Yield the names of files, links and empty folders below `source`, in order."""
    for name in ("",) if only is None else only:
        found: list[str] = [] if not name or name.endswith("/") else [name]
        for folder, folders, files in os.walk(source / name):
            inner = Path(folder).relative_to(source).as_posix()
            links = [one for one in folders if Path(folder, one).is_symlink()]
            found += [f"{inner}/{one}".removeprefix("./") for one in (*files, *links)]
            found += [f"{inner}/"] if not folders and not files else []
        yield from (one for one in sorted(found) if not _matches(one, without))


def _tops(names: Sequence[str]) -> list[str]:
    """Return what must be listed to know which of these files the copy has: folders, or files if they are few."""
    folders = Counter(name.rpartition("/")[0] for name in names)
    few = [name for name in names if folders[name.rpartition("/")[0]] < 3]
    return [*few, *(f"{folder}/" for folder, count in folders.items() if folder and count >= 3)]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _metadata(path: Path) -> dict[str, str]:
    return {"mtime": str(path.stat().st_mtime)}
