"""A CSV of devices: taken whole, or refused with every line that IoT would refuse."""

from pathlib import Path

import pytest

from devices.device_list import DeviceListError, read_devices
from devices.provisioning import Device


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "devices.csv"
    path.write_text(text)
    return path


def test_each_column_but_thing_and_type_is_an_attribute_and_an_empty_cell_none(
    tmp_path: Path,
) -> None:
    text = (
        "\ufeffthing,site,model,owner,thing_type\n"
        'press-7,harbour,TX-2,"port",\n'
        "5e:44:3b:f3:79:c8,,TX-1,,truck\n"
        "bare,,,,\n"
    )
    assert read_devices(written(tmp_path, text)) == [
        Device("press-7", {"site": "harbour", "model": "TX-2", "owner": "port"}),
        Device("5e:44:3b:f3:79:c8", {"model": "TX-1"}, "truck"),
        Device("bare", {}),
    ]


def test_every_wrong_line_is_named_at_once(tmp_path: Path) -> None:
    text = (
        "thing,site,a,b,c,thing_type\n"
        "good,depot,,,,\n"
        "with space,depot,,,,\n"
        "good,depot,,,,\n"
        "a:b,,,,,\n"
        "a-b,,,,,\n"
        "words,port authority,,,,\n"
        "many,1,2,3,4,\n"
        "typed,1,2,3,4,truck\n"
        "short,1\n"
        ",depot,,,,\n"
    )
    with pytest.raises(DeviceListError) as refused:
        read_devices(written(tmp_path, text))
    lines = str(refused.value).splitlines()
    assert "nothing registered" in lines[0]
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        *("line 3", "line 4", "line 6", "line 7", "line 8", "line 10", "line 11")
    ]
    assert "good is the device of line 2 again" in lines[2]
    assert "a-b is the device of line 5 again" in lines[3]
    assert "3 attributes of a thing without a thing type" in lines[5]


@pytest.mark.parametrize("text", ["", "name,site\na,b\n", "thing,the site\na,b\n"])
def test_a_list_without_its_columns_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(DeviceListError, match=r"devices\.csv"):
        read_devices(written(tmp_path, text))
