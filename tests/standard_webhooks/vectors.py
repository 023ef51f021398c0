"""The vectors of Standard Webhooks 1.0, which are the same for ever."""

from typing import Final

BODY: Final = b'{"test": 2432232314}'
ID: Final = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIMESTAMP: Final = 1614265330

WHSEC: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
V1: Final = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

WHSK: Final = (
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9l"
    "MicMFs6Kvg=="
)
WHPK: Final = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
V1A: Final = (
    "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8E"
    "M+m7TBAg=="
)
