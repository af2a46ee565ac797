-- Audits with rolled-back branches, and how many messages did not survive.
SELECT a.audit_id, a.condition_id, a.branches, count(*) AS messages,
       count(*) FILTER (NOT list_contains(from_json(a.final_view, '["VARCHAR"]'), m.message_id)) AS rolled_back
FROM audits a JOIN messages m USING (audit_id)
WHERE a.branches > 1
GROUP BY ALL
ORDER BY rolled_back DESC, a.audit_id
