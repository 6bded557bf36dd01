"""What every section of the configuration has in common: strict types, no unknown key, no change after loading."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints


class Section(BaseModel):
    """A group of settings. Unknown keys are refused; `"5"` is not taken for 5."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Positive = Annotated[int, Field(gt=0, le=2**62)]
NotNegative = Annotated[int, Field(ge=0, le=2**62)]
Fee = Annotated[int, Field(ge=-1_000_000_000, le=1_000_000_000)]  # a lot: times any quantity it stays in 64 bits
Ppm = Annotated[int, Field(ge=0, le=1_000_000)]
Port = Annotated[int, Field(ge=1, le=65535)]
Symbol = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9.+=$*#^~@!%&/-]{1,8}$")]
Address = Annotated[str, StringConstraints(pattern=r"^[^\s:]+:[0-9]{1,5}$")]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Core = Annotated[int, Field(ge=0, le=4095)]
