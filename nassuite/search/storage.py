"""Studies that several machines share: in a database, or behind Optuna's gRPC proxy."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nassuite.errors import InputError
from nassuite.search.driver import directions, trials_done
from nassuite.search.samplers import make_sampler
from nassuite.storage_url import STORAGE_VARIABLE, with_driver, with_password, without_password

if TYPE_CHECKING:
    import optuna

CONNECT_SECONDS = 5
"""For each address that a host's name has: localhost has two."""


@contextmanager
def reachable(url: str) -> Iterator[None]:
    """What a storage raises inside, as one line."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    # gRPC's errors can only come where it was imported, and it is there for few.
    grpc = sys.modules.get("grpc")
    errors = (SQLAlchemyError, StorageInternalError, ConnectionError, *((grpc.RpcError,) if grpc else ()))
    try:
        yield
    except errors as error:
        raise InputError(f"--storage {without_password(url)} cannot be used: {_reason(error)}") from None


def _reason(error: BaseException) -> str:
    """The first line of what a driver says, which says much."""
    from optuna.exceptions import StorageInternalError

    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        return _reason(error.__cause__)
    said = str(getattr(error, "orig", None) or getattr(error, "details", lambda: None)() or error)
    line = without_password(
        next((line.strip() for line in said.splitlines() if line.strip()), "no reason given")
    )
    if "password" in line.lower() or "authentication" in line.lower():
        line += f" (set {STORAGE_VARIABLE} to the URL with its password, or keep that in ~/.pgpass)"
    return line


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """The storage behind an URL. Raises InputError where it does not answer within some ten seconds."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # what is amiss is told once, and by us
    logging.getLogger("alembic").setLevel(logging.WARNING)
    named = f"--storage {without_password(url)}"
    whole = with_password(url)
    try:
        with reachable(url), warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return _proxy(whole) if whole.startswith("grpc:") else _database(whole)
    except ImportError as error:
        driver = getattr(error.__cause__, "name", None) or error.name or "a driver"
        raise InputError(f"{named} needs {driver}: pip install 'nassuite[distributed]'") from None
    except (RuntimeError, ValueError) as error:  # tables of another Optuna; a port that is no number
        if isinstance(error, InputError):
            raise
        raise InputError(f"{named} cannot be used: {_reason(error)}") from None


def _proxy(url: str) -> optuna.storages.BaseStorage:
    from optuna.storages import GrpcStorageProxy

    host, _, port = url.partition("://")[2].rstrip("/").rpartition(":")
    proxy = GrpcStorageProxy(host=host, port=int(port))
    proxy.wait_server_ready(timeout=2 * CONNECT_SECONDS)
    return proxy


def _database(url: str) -> optuna.storages.BaseStorage:
    from optuna.storages import RDBStorage

    engine = {
        "pool_pre_ping": True,  # a database that was restarted is found again
        "connect_args": {"connect_timeout": CONNECT_SECONDS},
    }
    return RDBStorage(with_driver(url), engine_kwargs=engine)


def begin_study(
    storage: optuna.storages.BaseStorage,
    url: str,
    name: str,
    facts: Mapping[str, str],
    *,
    minimised: int = 1,
) -> optuna.Study:
    """The study of that name, made if it is not there; ``facts`` are what its workers must agree on.

    ``minimised`` objectives, the latency among them.
    """
    import optuna

    with reachable(url):
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            directions=directions(minimised),
            sampler=make_sampler("random", 0),
            load_if_exists=True,
        )
        if not study.user_attrs and not study.get_trials(deepcopy=False):
            for key, value in facts.items():
                study.set_user_attr(key, value)
        refuse_other_facts(study, url, facts)
        return study


def join_study(
    storage: optuna.storages.BaseStorage, url: str, name: str, facts: Mapping[str, str]
) -> optuna.Study:
    """The study of that name, which has begun. Raises InputError where it has not, or of other facts."""
    import optuna

    with reachable(url):
        try:
            study = optuna.load_study(storage=storage, study_name=name, sampler=make_sampler("random", 0))
        except KeyError:
            raise InputError(
                f"--storage {without_password(url)} has no study {name}: it begins when its run's search does"
            ) from None
        refuse_other_facts(study, url, facts)
        return study


def trials_in_storage(url: str, name: str) -> int | None:
    """``trials_done`` of a study that others may be adding to; None where it has not begun.

    Raises InputError where the storage cannot be reached.
    """
    import optuna

    storage = open_storage(url)
    with reachable(url):
        if name not in optuna.get_all_study_names(storage):
            return None
        return trials_done(
            optuna.load_study(storage=storage, study_name=name, sampler=make_sampler("random", 0))
        )


def refuse_other_facts(study: optuna.Study, url: str, facts: Mapping[str, str]) -> None:
    """Raises InputError where the study is of something else."""
    theirs = study.user_attrs
    other = [key for key, value in facts.items() if theirs.get(key) != value]
    if other:
        said = ", ".join(f"{key} {_short(theirs.get(key))} there, {_short(facts[key])} here" for key in other)
        raise InputError(f"the study {study.study_name} in {without_password(url)} is of another {said}")


def _short(value: object) -> str:
    return "none" if value is None else str(value)[:12]
