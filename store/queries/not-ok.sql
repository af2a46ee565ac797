-- Audits that did not end well, by reason.
SELECT status, reason, count(*) AS audits, min(audit_id) AS example
FROM audits
WHERE status <> 'ok'
GROUP BY ALL
ORDER BY audits DESC
