"""What every endpoint declares is whole and consistent."""

import re

import msgspec
import pytest

from edged.api.app import ENDPOINTS
from edged.api.docs.fields import fields_of
from edged.api.endpoint import Endpoint, declared
from edged.api.native import events, facts

_TAKING = [each for each in ENDPOINTS if each.request is not None]


def name_of(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}"


every = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=name_of)
every_taking = pytest.mark.parametrize("endpoint", _TAKING, ids=name_of)


@every
def test_it_says_what_it_is_for(endpoint: Endpoint) -> None:
    assert re.fullmatch(r"[A-Z].*\.", endpoint.summary)
    assert len(endpoint.summary) <= 110


@every_taking
def test_each_field_has_one_fate(endpoint: Endpoint) -> None:
    assert endpoint.request is not None
    honoured = set(endpoint.request.__struct_encode_fields__)
    assert not honoured & endpoint.harmless.keys()
    assert not honoured & endpoint.refused.keys()
    assert not endpoint.harmless.keys() & endpoint.refused.keys()


@every
def test_nothing_unknown_is_taken(endpoint: Endpoint) -> None:
    for struct in (endpoint.request, endpoint.query):
        assert struct is None or struct.__struct_config__.forbid_unknown_fields


@every
def test_each_field_is_explained(endpoint: Endpoint) -> None:
    for field in fields_of(endpoint):
        assert field.text or "." in field.name or "[" in field.name, field
        assert not field.text or field.text.endswith("."), field


@every_taking
def test_an_example_is_what_the_endpoint_takes(endpoint: Endpoint) -> None:
    assert endpoint.example is not None
    assert endpoint.request is not None
    msgspec.convert(endpoint.example, endpoint.request, str_keys=True)


def test_endpoints_are_declared_once() -> None:
    names = [name_of(each) for each in ENDPOINTS]
    assert len(names) == len(set(names))


def test_endpoints_are_found_wherever_a_module_has_them() -> None:
    found = declared((facts, facts, events))
    assert [each.path for each in found] == ["/edged/v1/hardware", "/edged/v1/plan", "/edged/v1/events"]
