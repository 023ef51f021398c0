"""What docs/webhooks.md tells receivers to do finds the genuine, and only those."""

import base64
import hmac
import re
import time
from pathlib import Path

import pytest
import standardwebhooks

from libs.common.keys import new_secret, spelled_secret
from services.delivery.signature import Asymmetric, Signer, Symmetric

PAGE = Path(__file__).parents[2] / "docs/webhooks.md"
LIBRARY, BY_HAND = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
BODY = '{"hello": "wörld"}'.encode()


def by_library(secret, body, headers):
    """Run the snippet that uses a library; return whether it lets the message pass."""
    assert LIBRARY.count('"whsec_…"') == 1
    given = {"body": body, "headers": headers}
    try:
        exec(LIBRARY.replace('"whsec_…"', repr(secret)), given)
    except standardwebhooks.WebhookVerificationError:
        return False
    return True


def by_hand(secret, body, headers):
    """Run the snippet that needs none, with the imports that it leaves out."""
    given = {"secret": secret, "body": body, "headers": headers}
    given |= {"base64": base64, "hmac": hmac}
    exec(BY_HAND, given)
    return given["genuine"]


@pytest.fixture(params=[by_library, by_hand])
def is_genuine(request):
    return request.param


@pytest.fixture
def secret():
    return new_secret()


def signed(*keys, body=BODY):
    """Return the headers of a message as a pod sends it now."""
    now = int(time.time())
    return {
        "webhook-id": "0199b2c4-7a31-7c55-9d0e-3f2a1b4c5d6e",
        "webhook-timestamp": str(now),
        "webhook-signature": Signer(keys).sign(
            "0199b2c4-7a31-7c55-9d0e-3f2a1b4c5d6e", now, body
        ),
    }


def test_the_genuine_is_accepted(is_genuine, secret):
    headers = signed(Symmetric(secret))

    assert is_genuine(spelled_secret(secret), BODY, headers)


def test_the_forged_is_refused(is_genuine, secret):
    headers = signed(Symmetric(secret))
    spelled = spelled_secret(secret)

    assert not is_genuine(spelled, BODY + b" ", headers)
    assert not is_genuine(spelled_secret(new_secret()), BODY, headers)
    assert not is_genuine(spelled, BODY, headers | {"webhook-id": "another"})
    later = str(int(headers["webhook-timestamp"]) + 1)
    assert not is_genuine(spelled, BODY, headers | {"webhook-timestamp": later})
    assert not is_genuine(spelled, BODY, headers | {"webhook-signature": "v1,"})


def test_both_secrets_of_a_rotation_are_good(is_genuine, secret):
    new = new_secret()
    headers = signed(Asymmetric(bytes(32)), Symmetric(new), Symmetric(secret))

    for known in (new, secret):
        assert is_genuine(spelled_secret(known), BODY, headers)
    assert not is_genuine(spelled_secret(new_secret()), BODY, headers)
