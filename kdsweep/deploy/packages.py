"""The packages of the extra `deploy`, which a plain installation lacks."""

from typing import Any

from kdsweep.common.validation import import_package
from kdsweep.config.validate import OF_ONNX
from kdsweep.errors import UserError

EXTRA = "deploy"


def import_deploy(package: str) -> Any:
    """A package of the extra. Raises UserError, with how to install it, if it is missing."""
    try:
        return import_package(package, EXTRA)
    except ValueError as error:
        raise UserError(str(error)) from error


def require_packages() -> None:
    """Raises UserError unless all packages that ONNX needs are there."""
    for package in OF_ONNX:
        import_deploy(package)
