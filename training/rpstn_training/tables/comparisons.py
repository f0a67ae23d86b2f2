"""Tables V to IX of the paper, as printed: comparisons with other methods, set by set."""

from typing import Any

from ..counting import Counting
from .rows import FLOPS, GROUPS, PARAMETERS, PERSON, TORSO, Block, Column, Count, PaperTable, pck_columns, row

_POSETRACK = tuple(
    Column(name=name, table="official", row="AP", column=column)
    for name, column in zip(
        (*GROUPS, "Mean"), ("Head", "Shou", "Elb", "Wri", "Hip", "Knee", "Ankl", "Total"), strict=True
    )
)
_COCO = tuple(
    Column(name=name, table="official", row="key points", column=name)
    for name in ("AP", "AP50", "AP75", "APM", "APL", "AR")
)
_HIEVE = tuple(
    Column(name=f"{row}@{column.removeprefix('@')}", table="official", row=row, column=column)
    for row in ("w-AP", "AP")
    for column in ("avg", "@0.5", "@0.75", "@0.9")
)

DETECTED = (
    "The paper's boxes are a detector's; here annotated ones, unless data.options.detections names some."
)
_UNIQUE = Counting(rule="unique", truncated=True)
_CALLS = Counting(rule="calls")
_MMCV = Counting(rule="mmcv")
_SLIP = "a slip: UDP and DarkPose are the same network, with 8.991"
_ADDED = "0.001 more than without JRE; JRE has 0.0006 M parameters and 0.0017 GFLOPs"
_FINDER = "0.001 more than without JRE, which is in the network that finds the poses"
_POSEFIX = "without the first convolution's 17 further channels, one for each drawn joint, which are 0.61"


def _counted(parameters: str, flops: str, milliseconds: str) -> dict[str, Any]:
    """Columns of Table V."""
    return {
        "parameters": Count(printed=parameters, counting=PARAMETERS),
        "flops": Count(printed=flops, counting=FLOPS),
        "milliseconds": milliseconds,
    }


_LUO = {
    "parameters": Count(printed="231.5"),
    "flops": Count(printed="70.98"),
    "milliseconds": "25",
}

COMPARISONS: dict[str, PaperTable] = {
    "V": PaperTable(
        number="V",
        title="Comparisons with the state-of-the-art methods on Penn Action",
        blocks=(
            Block(
                metric=PERSON,
                columns=pck_columns("person"),
                rows=(
                    row("Park et al. [53]", "62.8 52.0 32.3 23.3 53.3 50.2 43.0 45.3"),
                    row("Nie et al. [2]", "64.2 55.4 33.8 24.4 56.4 54.1 48.0 48.0"),
                    row("Iqal et al. [1]", "89.1 86.4 73.9 73.0 85.3 79.9 80.3 81.1"),
                    row("Gkioxari et al. [54]", "95.6 93.8 90.4 90.7 91.8 90.8 91.5 91.8"),
                    row("Song et al. [10]", "98.0 97.3 95.1 94.7 97.1 97.1 96.9 96.5"),
                    row("Zhang et al. [55]", "98.7 98.7 97.0 95.3 98.8 98.7 98.6 98.0"),
                    row("Li et al. [32]", "99.3 98.5 97.6 97.2 98.6 98.1 97.4 98.0"),
                    row("Luo et al. [36]", "98.9 98.6 96.6 96.6 98.2 98.2 97.5 97.7", **_LUO),
                    row(
                        "DKD(ResNet50) [7]",
                        "98.8 98.7 96.8 97.0 98.2 98.1 97.2 97.8",
                        "table5_dkd_r50",
                        **_counted("219.92", "89.51", "11"),
                    ),
                    row(
                        "RPSTN (ResNet18)",
                        "99.1 98.7 98.6 98.4 98.8 98.7 98.8 98.7",
                        "table5_rpstn_r18",
                        **_counted("133.37", "68.29", "9"),
                    ),
                    row(
                        "RPSTN (ResNet50)",
                        "99.0 98.7 98.8 98.5 98.8 98.7 98.8 98.7",
                        "table5_rpstn_r50",
                        **_counted("222.17", "89.62", "12"),
                    ),
                ),
            ),
            Block(
                metric=TORSO,
                columns=pck_columns("torso"),
                rows=(
                    row("Luo et al. [36]", "96.0 93.6 92.4 91.1 88.3 94.2 93.5 92.6", **_LUO),
                    row(
                        "DKD(ResNet18) [7]",
                        "95.7 90.0 92.2 89.4 86.8 92.3 89.5 90.6",
                        "table5_dkd_r18",
                        **_counted("131.12", "68.18", "8"),
                    ),
                    row(
                        "DKD(ResNet50) [7]",
                        "96.6 93.7 92.9 91.2 88.8 94.3 93.7 92.9",
                        "table5_dkd_r50",
                        **_counted("219.92", "89.51", "11"),
                    ),
                    row(
                        "RPSTN (ResNet18)",
                        "97.8 96.7 94.0 92.5 96.6 96.5 95.2 95.4",
                        "table5_rpstn_r18",
                        **_counted("133.37", "68.29", "9"),
                    ),
                    row(
                        "RPSTN (ResNet50)",
                        "98.2 96.9 95.2 93.2 96.6 95.7 95.0 95.7",
                        "table5_rpstn_r50",
                        **_counted("222.17", "89.62", "12"),
                    ),
                ),
            ),
        ),
    ),
    "VI": PaperTable(
        number="VI",
        title="Comparisons with the state-of-the-art methods on Sub-JHMDB",
        remark="Here: the mean of the three splits. How the paper treats them is not said; its code pools them.",
        blocks=(
            Block(
                metric=PERSON,
                columns=pck_columns("person"),
                rows=(
                    row("Park et al. [53]", "79.0 60.3 28.7 16.0 74.8 59.2 49.3 52.5"),
                    row("Nie et al. [2]", "80.3 63.5 32.5 21.6 76.3 62.7 53.1 55.7"),
                    row("Iqal et al. [1]", "90.3 76.9 59.3 55.0 85.9 76.4 73.0 73.8"),
                    row("Song et al. [10]", "97.1 95.7 87.5 81.6 98.0 92.7 89.8 92.1"),
                    row("Li et al. [32]", "99.3 98.9 96.5 92.5 98.9 97.0 93.7 96.5"),
                    row("Zhang et al. [55]", "95.1 96.4 95.3 91.3 96.3 95.6 92.6 94.7"),
                    row("Luo et al. [36]", "98.2 96.5 89.6 86.0 98.7 95.6 90.9 93.6"),
                    row(
                        "DKD(ResNet50) [7]",
                        "98.3 96.6 90.4 87.1 99.1 96.0 92.9 94.0",
                        "table6_dkd_r50",
                    ),
                    row("RPSTN (ResNet50)", "98.9 99.1 99.0 97.9 97.8 97.8 97.3 97.4", "table6_rpstn_r50"),
                ),
            ),
            Block(
                metric=TORSO,
                columns=pck_columns("torso"),
                rows=(
                    row("Luo et al. [36]", "92.7 75.6 66.8 64.8 78.0 73.1 73.3 73.6"),
                    row(
                        "DKD(ResNet50) [7]",
                        "94.4 78.9 69.8 67.6 81.8 79.0 78.8 77.4",
                        "table6_dkd_r50",
                    ),
                    row("RPSTN (ResNet50)", "91.0 87.1 82.1 80.5 88.8 85.9 83.8 85.8", "table6_rpstn_r50"),
                ),
            ),
        ),
    ),
    "VII": PaperTable(
        number="VII",
        title="Comparisons with the state-of-the-art methods on PoseTrack2018",
        remark=DETECTED,
        blocks=(
            Block(
                metric="AP on val",
                columns=_POSETRACK,
                rows=(
                    row("AlphaPose [57]", "63.9 78.7 77.4 71.0 73.7 73.0 69.7 71.9"),
                    row("MDPN[58]", "75.4 81.2 79.0 74.1 72.4 73.0 69.9 75.5"),
                    row("DCPose[47]", "83.5 86.3 81.2 75.6 77.5 77.9 71.9 79.5"),
                    row("RPSTN (Ours)", "84.1 86.4 81.4 75.6 77.6 77.9 72.0 79.6", "table7_rpstn"),
                ),
            ),
        ),
    ),
    "VIII": PaperTable(
        number="VIII",
        title="Comparisons with the state-of-the-art methods on COCO, 256x192",
        remark="The paper's scores are of test-dev, which only the server knows; here they are of val2017.",
        blocks=(
            Block(
                metric="AP by object key-point similarity",
                columns=_COCO,
                rows=(
                    row(
                        "SBL [9]",
                        "70.0 90.9 77.9 66.8 75.8 75.6",
                        "table8_sbl",
                        parameters=Count(printed="32.424", counting=_UNIQUE),
                        flops=Count(printed="8.911", counting=_CALLS, differs=_SLIP),
                    ),
                    row(
                        "SBL-JRE",
                        "70.2 90.9 78.5 67.1 75.9 75.9",
                        "table8_sbl_jre",
                        parameters=Count(printed="32.425", counting=_UNIQUE),
                        flops=Count(
                            printed="8.912", counting=_CALLS, differs="0.001 more than the slip above it"
                        ),
                    ),
                    row(
                        "HRNet-W32 [6]",
                        "73.5 92.2 81.9 70.2 79.2 79.0",
                        "table8_hrnet_w32",
                        parameters=Count(printed="27.214", counting=_UNIQUE),
                        flops=Count(printed="7.120", counting=_CALLS),
                    ),
                    row(
                        "HRNet-W32-JRE",
                        "73.6 92.3 81.9 70.3 79.4 79.0",
                        "table8_hrnet_w32_jre",
                        parameters=Count(printed="27.215", counting=_UNIQUE, differs=_ADDED),
                        flops=Count(printed="7.121", counting=_CALLS, differs=_ADDED),
                    ),
                    row(
                        "S-ViPNAS [15]",
                        "70.3 90.7 78.8 67.3 75.5 77.3",
                        "table8_s_vipnas",
                        parameters=Count(printed="6.949", counting=_UNIQUE),
                        flops=Count(printed="1.388", counting=_MMCV),
                    ),
                    row(
                        "S-ViPNAS-JRE",
                        "70.5 91.2 79.0 67.7 75.9 77.2",
                        "table8_s_vipnas_jre",
                        parameters=Count(printed="6.950", counting=_UNIQUE, differs=_ADDED),
                        flops=Count(printed="1.389", counting=_MMCV),
                    ),
                    row(
                        "PoseFix [51]",
                        "72.4 91.0 79.9 69.1 78.5 77.8",
                        "table8_posefix",
                        parameters=Count(printed="32.475", counting=_UNIQUE),
                        flops=Count(printed="8.992", counting=_CALLS, differs=_POSEFIX),
                    ),
                    row(
                        "PoseFix-JRE",
                        "72.6 91.0 80.2 69.4 78.5 78.0",
                        "table8_posefix_jre",
                        parameters=Count(printed="32.476", counting=_UNIQUE, differs=_FINDER),
                        flops=Count(printed="8.993", counting=_CALLS, differs=_POSEFIX),
                    ),
                    row(
                        "UDP [13]",
                        "71.2 91.0 79.0 68.0 77.2 76.7",
                        "table8_udp",
                        parameters=Count(printed="32.424", counting=_UNIQUE),
                        flops=Count(printed="8.991", counting=_CALLS),
                    ),
                    row(
                        "UDP-JRE",
                        "71.3 90.9 79.2 68.1 77.3 76.8",
                        "table8_udp_jre",
                        parameters=Count(printed="32.425", counting=_UNIQUE),
                        flops=Count(printed="8.992", counting=_CALLS, differs=_ADDED),
                    ),
                    row(
                        "DarkPose [14]",
                        "71.3 90.9 79.0 67.8 77.4 76.6",
                        "table8_darkpose",
                        parameters=Count(printed="32.424", counting=_UNIQUE),
                        flops=Count(printed="8.991", counting=_CALLS),
                    ),
                    row(
                        "DarkPose-JRE",
                        "71.4 91.0 79.1 68.0 77.5 76.8",
                        "table8_darkpose_jre",
                        parameters=Count(printed="32.425", counting=_UNIQUE),
                        flops=Count(printed="8.992", counting=_CALLS, differs=_ADDED),
                    ),
                ),
            ),
        ),
    ),
    "IX": PaperTable(
        number="IX",
        title="Experimental results on HiEve",
        remark=f"{DETECTED} The paper's scorer is not public, the one here is unofficial.",
        blocks=(
            Block(
                metric="AP and AP weighted by crowding",
                columns=_HIEVE,
                rows=(
                    row(
                        "HRNet [6]",
                        "34.54 40.26 33.19 30.15 38.08 43.17 36.97 33.57",
                        "table9_hrnet",
                    ),
                    row(
                        "DKD [7]",
                        "34.86 40.36 33.78 30.45 38.09 43.49 37.17 33.62",
                        "table9_dkd",
                    ),
                    row(
                        "RPSTN-w/o-JRE",
                        "34.88 40.58 33.61 30.46 38.11 43.76 37.03 33.54",
                        "table9_rpstn_wo_jre",
                    ),
                    row("RPSTN", "35.17 40.78 34.03 30.72 38.41 44.05 37.39 33.79", "table9_rpstn"),
                ),
            ),
        ),
    ),
}
