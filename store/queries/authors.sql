-- Who wrote what the target was shown: auditor, person or script.
SELECT a.intervened, m.author, m.role, count(*) AS messages, count(DISTINCT m.audit_id) AS audits
FROM messages m JOIN audits a USING (audit_id)
WHERE m.role <> 'assistant' OR m.prefill
GROUP BY ALL
ORDER BY ALL
