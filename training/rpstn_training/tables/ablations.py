"""Tables I to IV of the paper, as printed: ablation studies on Penn Action."""

from .rows import FLOPS, FLOPS_WITH_RELATION, TORSO, Block, Count, PaperTable, pck_columns, row

_FIVE_CONVOLUTIONS = (
    "the printed number is of a propagator with 5 convolutions; here it has 4, as in the other rows"
)
ABLATIONS: dict[str, PaperTable] = {
    "I": PaperTable(
        number="I",
        title="Ablation studies for JRE and JRPSP on Penn Action",
        blocks=(
            Block(
                metric=f"JRE module, {TORSO}",
                columns=pck_columns("torso"),
                rows=(
                    row(
                        "RPSTN-w/o-JRE-JRPSP",
                        "97.2 93.0 90.1 87.5 92.9 92.6 89.2 91.4",
                        "table1_rpstn_wo_jre_jrpsp",
                    ),
                    row("RPSTN-w/o-JRE", "97.6 96.6 91.6 89.5 96.5 94.8 91.7 93.1", "table1_rpstn_wo_jre"),
                    row(
                        "RPSTN-NL",
                        "97.7 92.5 85.4 81.7 92.9 92.5 86.5 89.3",
                        "table1_rpstn_nl",
                    ),
                    row(
                        "RPSTN-RePose",
                        "97.1 88.1 87.7 85.9 90.1 92.0 88.7 89.5",
                        "table1_rpstn_repose",
                    ),
                    row(
                        "RPSTN-RF-Head",
                        "96.4 94.4 94.2 92.3 96.4 96.2 91.2 94.2",
                        "table1_rpstn_rf_head",
                    ),
                    row(
                        "RPSTN-JRE-2Convs",
                        "96.8 94.3 92.4 90.0 94.7 93.9 86.5 92.4",
                        "table1_rpstn_jre_2convs",
                    ),
                ),
            ),
            Block(
                metric=f"JRPSP module, {TORSO}",
                columns=pck_columns("torso"),
                rows=(
                    row(
                        "RPSTN-w/o-JRPSP",
                        "97.6 96.8 92.6 90.1 96.4 95.9 94.0 94.2",
                        "table1_rpstn_wo_jrpsp",
                    ),
                    row("RPSTN-DKD", "97.1 96.1 92.5 91.1 96.2 94.6 86.3 93.1", "table1_rpstn_dkd"),
                    row(
                        "RPSTN-JRPSP-5Convs",
                        "86.9 93.4 92.3 88.3 94.1 94.0 82.2 91.2",
                        "table1_rpstn_jrpsp_5convs",
                    ),
                    row("RPSTN (ResNet18)", "97.8 96.7 94.0 92.5 96.5 95.2 95.2 95.4", "table1_rpstn_r18"),
                ),
            ),
        ),
    ),
    "II": PaperTable(
        number="II",
        title="Ablation studies for feature extractor and pose initialiser on Penn Action",
        blocks=(
            Block(
                metric=TORSO,
                columns=pck_columns("torso"),
                rows=(
                    row(
                        "RPSTN-Res18-Cat",
                        "97.5 96.4 92.9 91.8 94.8 94.7 93.4 94.3",
                        "table2_rpstn_r18_cat",
                    ),
                    row(
                        "RPSTN-Res18-w/o-P",
                        "97.0 96.0 93.2 91.2 94.9 92.8 80.7 91.9",
                        "table2_rpstn_r18_wo_p",
                    ),
                    row("RPSTN (ResNet18)", "97.8 96.7 94.0 92.5 96.6 96.5 95.2 95.4", "table2_rpstn_r18"),
                    row(
                        "RPSTN-Res50-Cat",
                        "97.9 97.2 94.8 92.1 96.8 96.0 93.5 95.3",
                        "table2_rpstn_r50_cat",
                    ),
                    row(
                        "RPSTN-Res50-w/o-P",
                        "98.1 96.6 94.6 92.6 96.1 96.3 91.9 94.9",
                        "table2_rpstn_r50_wo_p",
                    ),
                    row("RPSTN (ResNet50)", "98.2 96.9 95.2 93.2 96.6 95.7 95.0 95.7", "table2_rpstn_r50"),
                ),
            ),
        ),
    ),
    "III": PaperTable(
        number="III",
        title="Ablation studies for different backbones on Penn Action",
        remark="The paper does not say which networks the pose initialisers are; here a ResNet-101, as Table V counts, "
        "and for Hourglass and HRNet themselves.",
        blocks=(
            Block(
                metric=TORSO,
                columns=pck_columns("torso"),
                rows=(
                    row(
                        "RPSTN-Res18-w/o-JRE",
                        "97.6 96.6 91.6 89.5 96.5 94.8 91.7 93.1",
                        "table3_rpstn_r18_wo_jre",
                    ),
                    row("RPSTN-Res18", "97.8 96.7 94.0 92.5 96.6 96.5 95.2 95.4", "table3_rpstn_r18"),
                    row(
                        "RPSTN-Res50-w/o-JRE",
                        "97.4 95.8 93.4 92.0 96.3 94.6 91.2 94.2",
                        "table3_rpstn_r50_wo_jre",
                    ),
                    row("RPSTN-Res50", "98.2 96.9 95.2 93.2 96.6 95.7 95.0 95.7", "table3_rpstn_r50"),
                    row(
                        "RPSTN-Res101-w/o-JRE",
                        "97.8 96.7 95.1 92.5 96.3 97.1 94.6 95.6",
                        "table3_rpstn_r101_wo_jre",
                    ),
                    row("RPSTN-Res101", "97.8 97.1 96.1 95.1 96.7 97.1 96.1 96.5", "table3_rpstn_r101"),
                    row(
                        "RPSTN-HG-w/o-JRE",
                        "97.7 96.7 92.4 92.3 96.8 96.7 94.4 95.0",
                        "table3_rpstn_hg_wo_jre",
                    ),
                    row(
                        "RPSTN-HG",
                        "97.7 97.3 92.5 94.7 96.8 96.8 95.8 95.9",
                        "table3_rpstn_hg",
                    ),
                    row(
                        "RPSTN-HRNet-w/o-JRE",
                        "98.0 95.4 96.7 96.1 97.2 96.7 96.6 96.6",
                        "table3_rpstn_hrnet_wo_jre",
                    ),
                    row(
                        "RPSTN-HRNet",
                        "98.2 96.6 97.1 96.2 97.2 97.2 97.1 97.0",
                        "table3_rpstn_hrnet",
                    ),
                ),
            ),
        ),
    ),
    "IV": PaperTable(
        number="IV",
        title="Ablation studies for the number of frames on Penn Action",
        blocks=(
            Block(
                metric=TORSO,
                columns=pck_columns("torso"),
                rows=(
                    row(
                        "RPSTN, 5 frames",
                        "98.2 96.9 95.2 93.2 96.6 95.7 95.0 95.7",
                        "table4_rpstn_5_frames",
                        frames=5,
                        flops=Count(printed="89.62", counting=FLOPS),
                    ),
                    row(
                        "RPSTN, 7 frames",
                        "97.9 96.3 95.5 93.5 97.1 97.3 96.0 96.1",
                        "table4_rpstn_7_frames",
                        frames=7,
                        flops=Count(printed="120.20", counting=FLOPS_WITH_RELATION),
                    ),
                    row(
                        "RPSTN, 10 frames",
                        "98.0 96.9 95.6 93.5 96.9 97.0 96.3 96.2",
                        "table4_rpstn_10_frames",
                        frames=10,
                        flops=Count(printed="166.07", counting=FLOPS_WITH_RELATION),
                    ),
                    row(
                        "RPSTN-w/o-JRE, 7 frames",
                        "98.1 96.7 93.3 91.5 96.5 96.5 94.6 95.1",
                        "table4_rpstn_wo_jre_7_frames",
                        frames=7,
                        flops=Count(
                            printed="120.36", counting=FLOPS_WITH_RELATION, differs=_FIVE_CONVOLUTIONS
                        ),
                    ),
                    row(
                        "RPSTN-w/o-JRE, 10 frames",
                        "97.6 97.3 94.1 92.5 96.4 96.2 93.4 95.2",
                        "table4_rpstn_wo_jre_10_frames",
                        frames=10,
                        flops=Count(
                            printed="166.30", counting=FLOPS_WITH_RELATION, differs=_FIVE_CONVOLUTIONS
                        ),
                    ),
                ),
            ),
        ),
    ),
}
