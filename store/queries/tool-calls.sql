-- Tools that targets called.
SELECT a.condition_id, call->>'name' AS tool, count(*) AS calls, count(DISTINCT a.audit_id) AS audits
FROM (SELECT audit_id, unnest(from_json(tool_calls, '["JSON"]')) AS call FROM messages WHERE role = 'assistant')
JOIN audits a USING (audit_id)
GROUP BY ALL
ORDER BY ALL
