import pytest
from hypothesis import given
from hypothesis import strategies as st

from nassuite.errors import InputError
from nassuite.settings import Settings
from nassuite.storage_url import STORAGE_VARIABLE, check_storage, with_driver, with_password, without_password

WORDS = st.text(st.characters(categories=("L", "N")), min_size=1)
SECRETS = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=8).filter(
    lambda s: s not in "://...@"
)


@given(WORDS, SECRETS, WORDS)
def test_no_password_is_written_down(user, secret, host):
    url = f"postgresql://{user}:{secret}@{host}:5432/nas"
    masked = without_password(f"cannot open {url}")
    assert masked == f"cannot open postgresql://{user}@{host}:5432/nas"
    assert without_password(masked) == masked
    assert Settings(storage=url).to_toml()["storage"] == f"postgresql://{user}@{host}:5432/nas"


def test_a_password_among_the_options_is_not_written_down_either():
    assert without_password("mysql://h/d?user=u&password=abc&x=1") == "mysql://h/d?user=u&password=...&x=1"
    assert without_password("grpc://host:13000") == "grpc://host:13000"


def test_the_environment_has_the_password_of_its_own_url_only(monkeypatch):
    monkeypatch.setenv(STORAGE_VARIABLE, "postgresql://u:abc@h/d")
    assert with_password("postgresql://u@h/d") == "postgresql://u:abc@h/d"
    assert with_password("postgresql://u@other/d") == "postgresql://u@other/d"
    assert with_password("postgresql://u:given@h/d") == "postgresql://u:given@h/d"


def test_drivers_that_are_not_named():
    assert with_driver("postgresql://h/d") == "postgresql+psycopg://h/d"
    assert with_driver("postgres://h/d") == "postgresql+psycopg://h/d"
    assert with_driver("mysql://h/d") == "mysql+pymysql://h/d"
    assert with_driver("postgresql+psycopg2://h/d") == "postgresql+psycopg2://h/d"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite:///runs/a.db", "SQLite is for one machine.*leave it out"),
        ("runs/a.journal", "expected postgresql://USER@HOST/DATABASE"),
        ("redis://host", "expected postgresql://USER@HOST/DATABASE"),
        ("postgresql://", "expected postgresql://USER@HOST/DATABASE"),
        ("grpc://host", "expected grpc://HOST:PORT"),
        ("grpc://u:p@host:1", "--storage grpc://u@host:1: expected grpc://HOST:PORT"),
    ],
)
def test_what_is_no_storage_is_refused(url, told):
    with pytest.raises(InputError, match=told):
        check_storage(url)
    with pytest.raises(InputError, match=told):
        Settings(storage=url)


@pytest.mark.parametrize(
    "url", ["postgresql://u@h/d", "postgresql+psycopg2://u:p@h:1/d", "mysql://h/d", "grpc://h:1"]
)
def test_storages_of_several_machines(url):
    check_storage(url)
