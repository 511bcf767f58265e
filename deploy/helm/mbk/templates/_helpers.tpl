{{- define "mbk.name" -}}
{{- if contains "mbk" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-mbk{{ end -}}
{{- end }}

{{- define "mbk.selector" -}}
app.kubernetes.io/name: mbk
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mbk.labels" -}}
{{ include "mbk.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "mbk.account" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "mbk.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end -}}
{{- end }}

{{/* What every pod of mbk has in common; the token of Kubernetes is not needed. */}}
{{- define "mbk.pod" -}}
serviceAccountName: {{ include "mbk.account" . }}
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "mbk.container" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- with .Values.credentialSecrets }}
envFrom:
{{- range . }}
  - secretRef:
      name: {{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "mbk.mounts" -}}
- name: config
  mountPath: /etc/mbk
  readOnly: true
- name: temporary
  mountPath: /tmp
- name: state
  mountPath: /var/lib/mbk
{{- end }}

{{- define "mbk.volumes" -}}
- name: config
{{- if .Values.existingConfigSecret }}
  secret:
    secretName: {{ .Values.existingConfigSecret }}
{{- else }}
  configMap:
    name: {{ include "mbk.name" . }}
{{- end }}
- name: temporary
  emptyDir: {}
{{- end }}

{{/* A CronJob: a list of the root, its name, its schedule and its shell script. */}}
{{- define "mbk.cronjob" -}}
{{- $root := index . 0 }}{{ $name := index . 1 }}{{ $schedule := index . 2 }}{{ $script := index . 3 }}
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {{ include "mbk.name" $root }}-{{ $name }}
  labels: {{- include "mbk.labels" $root | nindent 4 }}
spec:
  schedule: {{ $schedule | quote }}
  {{- with $root.Values.nightly.timeZone }}
  timeZone: {{ . | quote }}
  {{- end }}
  # Two never run at once; one that could not begin within an hour is left out.
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 3600
  successfulJobsHistoryLimit: 3
  failedJobsHistoryLimit: 3
  jobTemplate:
    spec:
      backoffLimit: 2
      template:
        metadata:
          labels: {{- include "mbk.selector" $root | nindent 12 }}
            app.kubernetes.io/component: {{ $name }}
        spec:
          restartPolicy: Never
          {{- include "mbk.pod" $root | nindent 10 }}
          containers:
            - name: mbk
              {{- include "mbk.container" $root | nindent 14 }}
              command: [/bin/sh, -euc]
              args:
                - |
                  {{- $script | nindent 18 }}
              resources: {{- toYaml $root.Values.nightly.resources | nindent 16 }}
              volumeMounts: {{- include "mbk.mounts" $root | nindent 16 }}
          volumes: {{- include "mbk.volumes" $root | nindent 12 }}
            - name: state
              emptyDir: {}
{{- end }}
