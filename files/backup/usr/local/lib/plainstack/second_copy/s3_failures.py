"""What the errors of S3 mean, as sentences."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType

from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError, SSLError
from destination import Failed

_KEY = "inv secrets.set backup/s3_access_key_id"
_SECRET = "inv secrets.set backup/s3_secret_access_key"  # noqa: S105 - a command
# The codes of S3 with a word for each, and a sentence.
_MEANINGS = {
    "NoSuchBucket": ("bucket", "{host} has no bucket {bucket}. Create it, or correct backup.second_copy.to"),
    "InvalidAccessKeyId": (
        "key",
        f"{{host}} does not know the access key of {{here}}. Set the right one, and deploy: {_KEY}",
    ),
    "SignatureDoesNotMatch": (
        "key",
        f"the secret access key of {{here}} does not belong to its access key. Set the right one, and deploy:"
        f" {_SECRET}",
    ),
    "AccessDenied": (
        "key",
        "{host} does not permit the access key of {here} to {action} in the bucket {bucket}. docs/backups.md lists what"
        " must be permitted",
    ),
    "RequestTimeTooSkewed": ("clock", "the clock of {here} differs from that of {host}. Set it: inv deploy"),
    "QuotaExceeded": ("full", "the bucket {bucket} of {host} is full"),
    "SlowDown": ("interrupted", "{host} is too busy. The next run continues"),
    "ServiceUnavailable": ("interrupted", "{host} is not available now. The next run continues"),
    "InternalError": ("interrupted", "{host} has failed. The next run continues"),
}
_REGION = (
    "region",
    "the bucket {bucket} is not in the region that {here} asks for. Correct backup.second_copy.region",
)
_MEANINGS |= {
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "403": _MEANINGS["AccessDenied"],
}
_ACTIONS = {
    "ListObjectsV2": "list objects",
    "GetObject": "get objects",
    "PutObject": "put objects",
    "CreateMultipartUpload": "put objects",
    "UploadPart": "put objects",
    "DeleteObject": "delete objects",
}


@dataclass(frozen=True)
class Refusals:
    """The server that errors come from, the bucket that they are about, and the name of this host."""

    host: str
    here: str
    bucket: str

    def failure(self, error: Exception) -> Failed | None:
        """Return what an error means; None if it is not one of S3 or of the disk."""
        said = " ".join(str(error).split())
        if isinstance(error, ClientError):
            code = str(error.response.get("Error", {}).get("Code", ""))
            kind, sentence = _MEANINGS.get(code, ("s3", "{host} refuses to {action} in the bucket {bucket}: {said}"))
            action = _ACTIONS.get(error.operation_name, error.operation_name)
            words = {"host": self.host, "here": self.here, "bucket": self.bucket, "action": action, "said": said}
            return Failed(kind, sentence.format(**words), said)
        if isinstance(error, SSLError):
            return Failed(
                "certificate",
                f"{self.here} does not trust the certificate of {self.host}. If an authority of your own has issued it,"
                " name its certificate in backup.second_copy.ca",
                said,
            )
        if isinstance(error, (ConnectionError, HTTPClientError)):
            return Failed("unreachable", f"{self.host} cannot be reached: {said}", said)
        if isinstance(error, BotoCoreError):
            return Failed("s3", f"the copy to {self.host} failed: {said}", said)
        if isinstance(error, OSError):
            return Failed("disk", f"the copy failed on {self.here}: {said}", said)
        return None


class translated(AbstractContextManager[None]):  # noqa: N801 - used like a function
    """Raise Failed instead of the errors of S3 and of the disk."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and (failed := self._refusals.failure(error)):
            raise failed from error
