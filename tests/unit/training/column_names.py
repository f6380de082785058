"""Names of clinical columns as workbooks, trials and registries write them, and what they are.

Every second name served to write the rules of `radiotrain.data.leaky_columns`, the others to judge them:
see `docs/benchmarks.md`.
"""

from __future__ import annotations

# What is derived from the receptors, was done because of them, or came afterwards.
LEAKY = """
ER; PR; HER2; ERstatus; PRstatus; HER2neu; HRstatus; HormoneReceptor; TN; tripleneg; LumA; IHC4; CEP17
letrozole; ypT0; Hormonrezeptorstatus; Östrogenrezeptor; er_status_by_ihc; pr_status_by_ihc
her2_status_by_ihc; her2_fish_status; er_percent; ER_pct; ERpos; PRneg; Her-2; HER-2/neu; her2_ihc_score
HER2_STATUS; c-erbB-2; cerbb2; ERBB2; ESR1; PGR; PgR_status; pgr_percent; ER/PR; er_pr_status
estrogen_receptor_status; breast_carcinoma_estrogen_receptor_status; oestrogen; Oestrogen receptor
progesterone_receptor_level_cell_percent_category; lab_proc_her2_neu_immunohistochemistry_receptor_status
HER2_cent17_ratio; her2_and_centromere_17_positive; cent17_copy_number; her2_copy_number; HER2Ratio
Breast Subtype (2001+); ER Status Recode Breast Cancer (1990+); PR Status Recode; Derived HER2 Recode (2010+)
CS site-specific factor ER; subtype; Subtyp; tumor_subtype; molecular_subtype; Mol Subtype; mol_type
intrinsic_subtype; PAM50; pam50_subtype; PAM50Call_RNAseq; PAM50_mRNA_nature2012; luminal; Luminal_AB
luminalA; lumB; LumB_HER2; basal_like; BasalLike; basal; St_Gallen_class; StGallen2013; surrogate_subtype
TNBC; is_tnbc; TripleNegative; triple_negative_status; Tripel-negativ; triple négatif; triple_negativo
triplo negativo; IHC_score; ihc_her2; Immunohistochemie; immunohistochimie; inmunohistoquimica
FISH; fish_result; CISH; SISH; DISH_ratio; D-DISH; HER2_ISH; allred; Allred_ER; allredPR; H-score; hscore_er
IRS; IRS_Score; Remmele; Oncotype score; OncotypeDX; oncotype_rs; RS; recurrence_score; RecurrenceScore
21_gene_score; MammaPrint; mammaprint_result; MAMMAPRINT_INDEX; BluePrint; Prosigna; ROR; ror_score; ROR-P
EndoPredict; EPclin; Breast Cancer Index; bci_risk; HR; hr_status; HRpos_HER2neg; HR_HER2_STATUS; HRplus
hormone_receptor_positive; hormone receptors; hormonal_status_tumor; Hormonrezeptor; HormonrezPos
Östrogenrezeptorstatus; Progesteronrezeptor; HER2-Status; recepteurs_hormonaux; Récepteur œstrogène
récepteurs_progestérone; RE_statut; RP_positif; statut_HER2; recettori_ormonali; receptor_estrogeno
receptores hormonales; estado_her2; RE_percent; recettore_progesterone; oestrogeenreceptor
progesteronreceptor; receptorstatus; hormoonreceptor; subtipo_molecular; sottotipo; sous-type
sous_type_moleculaire; tumour phenotype; androgen_receptor; AR_status; her2low; HER2_low; her2_amplified
HER2_amplification; erbb2_cna; ERBB2_mRNA; ESR1_expression; pgr_gene; IntClust; claudin_subtype
CLAUDIN_LOW; AJCC8_prognostic_stage; prognostic stage group; ERlow; ER_binary; ER_IHC_intensity; ERprozent
PR_prozent; her2_0_1_2_3; HER2_DAKO; tamoxifen; Tamoxifene; tamoxifeno; letrozol; anastrozole; Arimidex
exemestane; fulvestrant; goserelin; leuprolide; trastuzumab; Herceptin; pertuzumab; T-DM1; TDM1; T-DXd
lapatinib; neratinib; tucatinib; palbociclib; ribociclib; abemaciclib; cdk46_inhibitor; olaparib
pembrolizumab; atezolizumab; capecitabine; Xeloda; paclitaxel; docetaxel; taxane; doxorubicin; epirubicin
anthracycline; Anthrazykline; carboplatin; cisplatine; AC-T; TCHP; FEC; cyclophosphamide; ciclofosfamida
everolimus; ddAC; chemotherapy; Chemotherapie; chimiothérapie; quimioterapia; chemioterapia; chemo_yn
NAC; NACT; nac_regimen; neoadjuvant; Neoadjuvant Chemotherapy; neoadj_tx; adjuvant_therapy; adyuvancia
endocrine_therapy; endokrine Therapie; hormonothérapie; hormonoterapia; HormonalTherapy; antihormonell
aromatase_inhibitor; AI_therapy; lhrh_agonist; ovarian_suppression; oophorectomy; radiotherapy; RTx
Bestrahlung; radiothérapie; radioterapia; radiation_therapy; Adjuvant Radiation Therapy; irradiation
surgery_type; Operation; chirurgie; cirugia; mastectomy; mastectomia; BCS; lumpectomy; Definitive Surgery Type
treatment; treatment_arm; arm; Arm; trial_arm; study_arm_code; randomization_arm; treatment_type; tratamiento
traitement; Behandlung; behandeling; therapy; systemtherapie; Therapieart; pharmaceutical_tx_drug; regimen
pCR; pcr_status; PCR; tpCR; pCR_breast; pathologic_complete_response; komplettremission; pathCR; RCB; RCB_class
rcb_index; RCBclass; residual_cancer_burden; residual_disease; Resttumor; tumor_residual; ypT; ypN; ypTNM
ypStage; ypT0/is; ypN0; yp_stage; yT; MillerPayne; miller_payne_grade; Sataloff; tumor_regression_grade; TRG
Regressionsgrad; Sinn_regression; RECIST; recist_response; clinical_response; Response; responder; nonresponder
best_overall_response; Ansprechen; Therapieansprechen; réponse; respuesta; risposta; near_complete_response
DFS; dfs_months; DFSevent; OS; os_event; OS.time; OS_STATUS; OS_MONTHS; osmonths; RFS; RFS_ind; PFS; PFI.time
iDFS; IDFS_event; EFS; efs_time; DRFS; drfs_1_event_0_censored; BCSS; DSS; DMFS; ttp_days; censored
overall_survival; Survival months; SurvivalTime; Überleben; ueberlebenszeit; Gesamtüberleben; survie; supervivencia
sopravvivenza; sobrevida; overleving; vital_status; VitalStatus; Vitalstatus; VITAL; alive; dead; death
date_of_death; DEATH_EVENT; cause_of_death; Todesursache; verstorben; Sterbedatum; décès; muerte; fallecido
morte; deceduto; overleden; mortality_5y; days_to_death; days_to_last_followup; Days to distant recurrence
recurrence; Recurrence event(s); local_recurrence; rec_free_months; Rezidiv; Lokalrezidiv; récidive; rechute; recidiva
recaida; ricorrenza; recidief; relapse; relapsed; relapse_site; metastasis; distant_metastasis; Fernmetastasen
metastasis_free_survival; métastases; first_met_site; progression; progressive_disease; Progress; progresion; follow_up_months
FollowUp; fu_time; fu_status; Nachsorge; suivi_mois; seguimiento; last_contact; Age at last contact; last_known_alive
event; event_free; event_time; EventStatus; evento; Ereignis; time_to_event; time_to_recurrence; months_to_relapse
days_to_new_tumor_event_after_initial_treatment; new_tumor_event; disease_free_interval; outcome; Endpoint; person_neoplasm_cancer_status
"""

# What is known when images are made, says how they were made, or says nothing of a tumour's biology.
HARMLESS = """
age; age_years; AgeAtDiagnosis; Alter; âge; edad; eta; leeftijd; sex; Geschlecht; sexe; race; Race and Ethnicity
ethnicity; menopause; Menopause (at diagnosis); menopausal_status; Menopausenstatus; weight; weight_kg; height_cm
bmi; BMI_group; parity; gravida; age_at_menarche; AgeFirstBirth; breastfeeding; oral_contraceptive_use
hormone_replacement_therapy; HRT_use; family_history; family_history_ovarian_cancer; family_history_breast; BRCA1
brca_mutation; smoking; Raucher; alcohol; diabetes; hypertension; comorbidity; charlson_index; er_visits
ER_admissions; emergency_room; er_wait_minutes; arm_circumference; arm_position; arms_up; left_arm_bp; treatment_centre
treatment_center; TreatmentHospital; treating_site; therapy_center; hr_bpm; heart_rate; resting_hr; HR_rest
pr_interval; PR_interval_ms; os_version; OSVersion; operating_system; os_name; scanner_os; TNM; tnm_stage; TNStage
T_stage; N_stage; M_stage; cT; cN; clinical_stage; stage; tumor_stage; tumor_grade; Nottingham grade; SBRgrade
grade; Ki67; ki67_percent; mitotic_count; histologic_type; histology; histological_subtype; Ltype; ductal; lobular
tumor_size_cm; Tumor Location; Position; laterality; side; quadrant; multifocal; Multicentric/Multifocal; bilateral
Contralateral Breast Involvement; Lymphadenopathy or Suspicious Nodes; Skin/Nipple Invovlement; Pec/Chest Involvement
Metastatic at Presentation (Outside of Lymph Nodes); Staging(Metastasis)#(Mx -replaced by -1)[M]; lymph_node_metastasis
breast_density; Breast Density; BIRADS; birads_category; Shape; Margin; Mass Density; Calcifications; Echogenicity
Posterior acoustic shadowing; Architectural distortion; background_parenchymal_enhancement; fibroglandular_tissue
palpable; screen_detected; symptoms; biopsy_date; biopsy_type; referral; insurance; education; income; marital_status
country; region; hospital; site; institution; center; Klinik; centre; dataset; Manufacturer; Manufacturer Model Name
model; scanner; Scan Options; Field Strength (Tesla); field_strength_t; Patient Position During MRI; coil
coil_elements; receive_coil; Contrast Agent; Contrast Bolus Volume (mL); contrast_dose; TR (Repetition Time); TE
EchoTime; InversionTime; time_to_peak; TimeToPeak; days_to_mri; Days to MRI (From the Date of Diagnosis)
days_to_birth; Flip Angle; Acquisition Matrix; Slice Thickness; SpacingBetweenSlices; Rows; Columns; pixel_spacing
num_phases; phase_times; FOV Computed (Field of View) in cm; Reconstruction Diameter; ImageOrientationPatient
acquisition_date; AcquisitionTime; series_description; series_number; StudyDate; protocol_name; sequence_name
sequence_variant; SoftwareVersions; StationName; magnetic_field; fat_suppression; parallel_imaging; acceleration_factor
bandwidth; PercentSampling; temporal_resolution; frames; b_value; adc_mean; kinetic_curve; washout; image_quality
motion_artifact; SNR; residual_motion; residual_fat_signal; response_time_ms; questionnaire_response; survey_response_date
frequency_response; redcap_event_name; event_name; cardiac_event_history; fish_intake; fish_oil; vital_signs; vital_capacity
blood_pressure; systolic; creatinine; eGFR; glucose; hemoglobin; rs1801133; rs_fmri; previous_biopsy; prior_breast_surgery
breast_implants; hysterectomy; menstrual_cycle_day; last_menstrual_period; lactation; nulliparous; year_of_birth
YearOfDiagnosis; Diagnosejahr; patient_height; corresponding_slice; preoperative_mri; reader; reader_experience; radiologist
prevention_program; prevalence; person_id; referring_physician; presentation; prior_mammogram; prostate; arterial_phase
Tumorgröße; Größe; Gewicht; densité_mammaire; taille; poids; lieu; ménopause; tabaquismo; peso; densidad_mamaria
lateralità; familiarità; roken; borstdichtheid; Dichte; Seite; Familienanamnese; Herdbefund; Hersteller; Gerät
operator; server; serial_number; personal_history; percent_density; persistent_kinetics; hertz; center_frequency_hz
transmit_gain; receiver_gain; rescale_slope; rescale_intercept; prone; supine; osteoporosis; oscillation; cosmetic_surgery
nac_involvement; nipple_distance; chest_wall; thyroid_hormone; pr_number; 24hr_urine; hr_mri; luminal_diameter; tn_zip
"""


# Written after the rules, to see what these miss: 12 % of the leaky ones at first, see docs/benchmarks.md.
LEAKY_LATER = """
ER_Allred; ERPositive; ER.Status; er.pos; ESTROGEN; Estrogen Receptor (%); erpct; ER_perc
pr.status; PROGESTERONE; Pgr(%); PRpercent; progesteron; prog_rec; HER2status; her2pos; HER_2
her2.neu; Her2Neu_IHC; HER2 FISH ratio; her2_equivocal; HER2 2+; Her2/CEP17; HER2-low; hercep
HercepTest; c-erbB2; NEU; her2enriched; HER2E; HR+; HRpositive; HR_negative; hrpos; hormone_status
HormoneStatus; horm_rec; HormonReceptorStatus; ER+/HER2-; ERHER2; erprher2; tnbc_subtype; TNBCtype
tripleNegative; TripleNeg; triple-neg; TN_status; tn_yn; isTN; luminal_b; Lum_A; lum_b; LumABasal
Luminal-like; non_luminal; molecular type; MolecularClass; molsubtype; clinical_subtype
biological subtype; SurrogateIntrinsicSubtype; tumor_type_molecular; BCsubtype; intrinsic.type
molekularer Subtyp; Molekulartyp; tipo molecular; tipo_molecolare; type moléculaire
moleculair subtype; IHC_class; ihc4_score; IHC_profile; FISH_ratio; fishratio; ISH_result
H_Score_ER; OncotypeRS; ODX_RS; oncotypeScore; Recurrence_Score_Category; mammaprint_risk
mp_risk_70gene; prosignaROR; ROR_PT; EPScore; endopredict_class; BCIscore; genomic_risk; TAM
tamox; letroz; AI; aromatase inhib; anti_her2; antiHER2therapy; HER2_therapy; trastuz_yn
Herceptin_given; T_DM1; tdxd; CDK4/6i; pembro; Keytruda_cycles; paclitaxel_weekly; nabpaclitaxel
docetaxel_cycles; taxane_based; anthracyclin; AC_T; ACx4; FEC100; TCbHP; TCHPx6; carbo
Carboplatin_AUC; chemo; chemo_cycles; chemoYN; CTx; Chemo_Regimen; NACT_regimen; NeoadjuvantChemo
neoadj; NAT; neoadjuvante; néoadjuvant; adjuvante Therapie; endocrine; endocrin_tx; Hormontherapie
antihormonelle_Therapie; AHT; hormonal; ormonoterapia; hormoontherapie; radio_therapy; RT_yn
Radiotherapie; PMRT; radiotherapy_boost; surgery; surg_date; surgical_procedure; OP-Datum
Operationsart; chirurgia; Mastektomie; tumorectomie; BET; breast_conserving_surgery; ALND; SLNB
Treatment_Group; randomized_arm; TrialArm; ARM_CD; Tx_arm; allocated_arm; arm_code; studyarm
experimental_arm; drug; regimen_name; systemic_therapy; targeted_therapy; immunotherapy
Immuntherapie; pcr_breast_axilla; pCR_binary; PathCR; pathologicCR; ypT0N0; ypTis; ypTstage; yp_T
ypN_stage; ypT0/is ypN0; RCB-III; rcbscore; residual_tumor_size; residual_cellularity
ResidualDisease; MP_grade; Miller&Payne; TRG_score; tumour regression; Tumorregression; RECIST_1_1
bestresponse; objective_response; ORR; clin_resp; treatment_response; resp_NAC; response_pct
ResponseCategory; pathresponse; pathologische Remission; pathologische Komplettremission
remission; remisión; dfs; DFS_time; DFSmonths; dfs.event; OSS; OS days; OSdays; OS_5y; osTime
os.event; OSstatus; RFSevent; rfs_years; PFS_time; BCFI; iDFS_months; DDFS; distantRFS; survival
Survival.Event; survstatus; surv_months; tiempo_supervivencia; tempo_sopravvivenza
Überlebensstatus; survie_globale; VitalStat; patient_died; Died; died_of_disease; DeathDate
date_death; Dead; Todesdatum; tot; Tod; date_décès; data_obito; fecha_muerte; overlijdensdatum
alive_yn; last_fu; lastFU; LastFollowUp; date_last_seen; fu_months; FUmonths; followup_days
Follow-up (months); loss_to_follow_up; nachbeobachtungszeit; relaps; relapse_free; Rückfall
recurrenceYN; recur; RecurrenceDate; LocoregionalRecurrence; distant_recur; Rezidiv_Datum
recidive_locale; recidiva_local; ricaduta; DistantMets; mets; metastases_followup
metastatic_relapse; Metastasierung; progressed; PD_date; progression_free; event_1; EventDFS
eventtime; time2event; timeToDeath; TTR; days_until_recurrence; months_to_progression; days2death
contralateral_recurrence; second_primary_event; BCdeath; cancer_specific_death; censoring
status_os; endpoint_dfs
"""

HARMLESS_LATER = """
patient_age; Age at Diagnosis; age_group; AGE_YRS; dob_year; Gender; BirthYear; ethnic_group
Race/Ethnicity; Height; body_weight; Waist circumference; upper_arm_circumference
ArmCircumference; arm_length; arm_side; ER visit count; er_visit_number; ERVisits; ED_visits
number_er_admissions; Treatment Center; TreatingCenter; treatmentSite; therapy_room; hr_resting
HeartRate; HR (bpm); max_hr; hr_variability; PR interval; prInterval; OS version; osName
operating_system_version; TN_stage; tnm; pT; pN; cT_stage; cN_stage; AJCC stage; stage_group
anatomic_stage; Grade; HistologicGrade; nuclear_grade; mitoses; Ki-67; Ki67_index; histology_type
HistologicSubtype; histologic subtype; dcis; lvi; necrosis; tumor_volume; TumorSize
LongestDiameter; longest_diameter_mm; Multifocality; focality; nipple_retraction; skin_thickening
lesion_type; mass_shape; mass_margin; nonmass; internal_enhancement; BPE; FGT; density; birads
ACR_density; lymph_node_status; axillary_nodes; nodal_status; cN_positive; node_positive
Metastatic at Diagnosis; M1_at_diagnosis; brca1; BRCA2_status; germline; genetic_testing
family_hx; FamilyHistory; personal_history_breast_cancer; menarche_age; Menopause; menopausal
postmenopausal; premenopausal; pregnancies; nulligravid; lactating; cycle_phase; menstrual_phase
day_of_cycle; contraception; hormonal_contraception; hormone_replacement; HRT; smoker; pack_years
alcohol_use; bmi_cat; diabetes_type; hypertension_treated; asthma; ECOG; performance_status
comorbidities; marital; employment; residence; zip_code; insurance_type; hospital_id; SiteID
site_code; study_site; CenterName; Institution; vendor; ScannerModel; scanner_type
magnet_strength; FieldStrength; Tesla; coil_type; num_coils; CoilName; sequence; SequenceName
PulseSequence; TR; FlipAngle; echo_time; repetition_time; inversion_time; acquisition_time
time_to_acquisition; scan_time; scan_duration; ScanDate; StudyTime; series_time
time_from_injection; injection_rate; contrast_agent_type; contrast_volume; gadolinium_dose
slice_gap; slice_thickness; num_slices; n_slices; voxel_size; in_plane_resolution; matrix_size
FOV; pixelSpacing; rows; orientation; breast_side; right_breast; Upper outer quadrant; position
clock_position; distance_from_nipple; prior_biopsy; PriorMammography; biopsy_method
biopsy_laterality; reason_for_mri; indication; screening; high_risk; Gail_score; tyrer_cuzick
Implant; prior_cancer; prior_surgery; previous_operation; operator_id; reader_1; tech_id
radiologist_id; software; PACS_id; accession; consent_date; enrollment_year; visit; visit_date
timepoint; baseline_mri; days_from_biopsy_to_mri; DaysToMRI; months_since_biopsy; T1; T2_signal
ADC; adc_value; Ktrans; kep; peak_enhancement; time_to_peak_enhancement; washout_rate; SER
signal_enhancement_ratio; edema; motion; artifact; noise; snr; fat_sat
treatment_planning_ct_vendor; Alter bei Diagnose; Körpergewicht; Geburtsjahr; Größe_cm
Menopause_Status; Tumorlokalisation; Tumorgrösse_mm; Krankenhaus; Brustdichte; âge_diagnostic
poids_kg; centre_hospitalier; côté; densité; edad_diagnóstico; peso_kg; lado; hospital_origen
tamaño_tumor; menopausia; età_diagnosi; lato; dimensione; leeftijd_diagnose; lengte; ziekenhuis
heart_failure; server_name; personnel; version; resting_state; fish_consumption
response_rate_survey; emergency_visits
"""


# Written after these had been mended: 14 % of the leaky ones were missed at first.
LEAKY_LAST = """
ERStatusAtDx; ER_result; ESR1mut; ER 1=pos; PR%; PgRpos; prog_receptor; ReceptorStatus; recStatus
rec_oestro; ER_PR_HER2; HER2amp; HER2_score_0_3; HER-2_neu_FISH; her2copies; HER2expression
tumorHER2; ErbB2 copy number; HercepTest score; HR_group; HRstat; Hormone_Positive; Hormonrez.
Hormonsensitivität; rezeptorstatus_er; Rezeptor_PR; TripleNegativ; tripel_negatief; trip_neg
TNBC_yes; luminalHER2; Luminal A vs B; LuminalType; subtype_ihc; SubType3; Molecular.Subtype
Tumor biology subtype; classe_moleculaire; fenotipo; perfil_inmunohistoquimico; IHQ; AllredScore
HScorePR; Oncotype_DX_Score; recscore; Genomic Grade Index; PAM50_ROR; Letrozol 2,5mg; Tamox_start
AI_start; Aromatasehemmer; anti-HER2-Therapie; Trastuzumab_doses; dual_blockade; CDK46i
PARP_inhibitor; immune_checkpoint_inh; EC_T; EC-Doc; Paclitaxel/Carboplatin; Chemo type
NeoAdj_Chemo; NACT_cycles; PST_yes; systemische Therapie; CHT; Hormone_Rx; OvarianAblation; GnRHa
RadTx; Strahlentherapie; Radiatio; WBRT; Boost; BrustOP; breast_surgery; Surg_type; MastYN; Op_Art
nachOP; post_surg_stage; Treatment Arm; ArmName; ArmA; treatedWith; Rx_Summ_Chemo
RX Summ--Surg Prim Site; Chemotherapy recode (yes, no/unk); Radiation recode; pCR_yn; ypN_pos
pathCompleteResponse; Complete_Remission; RCB_0_I; ResidTumor; Residual cancer; post-NAC size
ClinicalResponse; RECIST_PR; Partial_Response; Non-pCR; DFS_mo; OSmo; os5; RFS.time; DRFSevent
EFSmonths; SurvMonths; Survival_Status; COD to site recode
Vital status recode (study cutoff used); SEER cause-specific death classification; Months_of_FU
Last FU date; Lost_FU; Tot_ja_nein; Ueberlebend; Verlauf; Progressionsfrei; Rezidivfrei; LRR_event
LocalRecurrence_yn; MetsAtFU; Fernmetastase; Metastasis_free; dateOfRelapse; NED_status
dead_alive; Deceased_yn; status_vital; estado_vital; Statut vital; stato in vita
"""

HARMLESS_LAST = """
AgeYears; age.at.mri; Alter_Jahre; Patientenalter; BMI_kg_m2; Raucherstatus; Menarche; Parität
Kinderzahl; Stillzeit; PillUse; contraceptive_pill; Hormonersatz; Familiäre Belastung; BRCA_status
gene_panel; ethnicOrigin; ArmSpan; arm circumference right; Left Arm; visits_to_er; ER wait time
HRmax; HR_mean_bpm; Pulse; PR_ms; RR; OS build; TNM_T; T category; cTNM; clinical T; Grading; G
Elston_Ellis; Ki67_pct; Tumor size MRI; max_diameter; Lesion count; enhancement_type; BI-RADS; ACR
Dichte_ACR; LK_Befund; nodes_clinical; Nodal_stage; hist_type; Histologie; invasive_lobular
DCIS_component; Treatment facility; treating_hospital_id; Clinic; Zentrum; Standort; scannername
Geraet; Magnetfeld; T; TR_ms; TE (ms); kVp; ScanningSequence; EchoTrainLength; NumberOfAverages
SAR; dB_dt; TransmitCoilName; ReceiveCoilName; InPlanePhaseEncodingDirection
PercentPhaseFieldOfView; ImagingFrequency; TriggerTime; RepetitionTime; ContrastBolusAgent
Kontrastmittel; temporalResolution; TimeBetweenPhases; num_timepoints; WashIn; AUC60; entropy
sphericity; firstorder_mean; reader_confidence; MRI_indication; recall; Vorbefund; previous_mri
Voroperation; Days_from_MRI_to_biopsy; biopsy_needle; Biopsie_Datum; Year; Jahr; Quartal; Weekday
insurance_status; Wohnort; Distanz_km; height; Schwangerschaften; residual_field; event_id
model_name
"""


def _names(text: str) -> tuple[str, ...]:
    return tuple(
        name.strip() for line in text.splitlines() for name in line.split(";") if name.strip()
    )


LEAKY_NAMES, HARMLESS_NAMES = (
    _names(LEAKY + LEAKY_LATER + LEAKY_LAST),
    _names(HARMLESS + HARMLESS_LATER + HARMLESS_LAST),
)
